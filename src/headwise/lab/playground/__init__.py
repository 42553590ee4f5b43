"""A page on which models solve puzzles in the browser, live."""
