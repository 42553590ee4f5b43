"""Routing in models that exist: gates put into pretrained transformers, heads measured, chosen and removed."""
