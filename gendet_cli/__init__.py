"""gendet tells fact-checkers whether a picture was made by an AI, on what evidence, and how sure it is."""

__version__ = "0.1.0"
