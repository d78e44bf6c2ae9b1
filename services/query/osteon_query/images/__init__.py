"""Pictures of instances, made by `imaging` and sent by HTTP."""
