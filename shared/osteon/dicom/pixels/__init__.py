"""Pixel data: layout, the registry of codecs, frames in and out, transcoding (PS3.5 section 8, annex A)."""
