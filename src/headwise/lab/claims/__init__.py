"""The book of claims: published statements, each with the commands that test it and the rules that judge them.

`claim` is a claim as its file states it, `rules` judges results, `retest` runs the commands.
"""
