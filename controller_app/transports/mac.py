"""The label alone: the destination MAC says everything, and frames are as long as they were."""

from controller_app.transports.transport import Transport

TRANSPORT = Transport(word="mac", says="the destination MAC, nothing more", number=0)
