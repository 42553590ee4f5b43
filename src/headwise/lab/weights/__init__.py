"""Models to load by name: trained from recipes, measured, and written as folders of the package headwise-weights."""
