"""Mazes: find the shortest way from start to goal on a lattice of cells, through open passages only."""
