"""Trained models of headwise, a folder each: `headwise.load("maze-12")`. The README.md of each says what it reaches."""
