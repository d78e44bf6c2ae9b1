"""The DICOM upper layer (PS3.8) and DIMSE services (PS3.7) in asyncio, on pynetdicom's codecs.

`connection` is the state machine of either side; `exchange` the messages of both directions on it; `services` performs
what a peer asks for (provider), `user` asks a peer (C-STORE, C-FIND … and, as an acceptor, the sub-operations of
C-GET and N-EVENT-REPORT: `AcceptedAssociation.user`). `acceptor` listens, `requestor` opens associations.
"""
