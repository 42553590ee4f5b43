"""Thinking longer: finished runs with more steps and several restarts, and which of the answers is taken."""
