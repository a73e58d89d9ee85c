"""Detectors and backbones that ship with gendet; see the README in each folder."""
