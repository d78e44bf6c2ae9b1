"""The message bus: a port, RabbitMQ, and one in memory."""
