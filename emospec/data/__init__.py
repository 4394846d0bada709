"""Recordings and labels: corpora, packs, splits, audits. Nothing here imports torch."""
