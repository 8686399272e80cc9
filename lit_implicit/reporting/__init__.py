"""From measurements to files, figures and tables."""
