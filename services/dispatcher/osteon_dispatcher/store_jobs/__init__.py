"""Jobs that send what is stored here: to modalities by C-STORE, to peers by HTTP."""
