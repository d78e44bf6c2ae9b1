"""The DICOM upper layer (PS3.8) and DIMSE services (PS3.7) in asyncio.

`acceptor` listens, `requestor` opens associations. Bytes go through `transport`, `upper_layer` (the state machine, with
`stream` splitting PDUs) and `message_exchange`. From there a request of the peer goes to `service_provider` and the
operation that it begins (`c_store`, `c_find`, …). A response goes to the `invoker` of `service_user`, which makes
requests of our own: an acceptor's are the sub-operations of C-GET and N-EVENT-REPORT.
"""
