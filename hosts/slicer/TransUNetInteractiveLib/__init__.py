"""What the module TransUNetInteractive is made of; only panel.py, parameters.py and the effect need the Slicer application."""
