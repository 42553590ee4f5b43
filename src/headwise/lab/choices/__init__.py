"""Ways of choosing heads in a pretrained model, side by side."""
