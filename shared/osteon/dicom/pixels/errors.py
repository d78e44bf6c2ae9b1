"""What can be wrong with pixel data. All are `Invalid`: the same bytes fail again."""

from osteon.errors import Invalid


class PixelError(Invalid):
    """Pixel data contradicts its attributes, is damaged, or is larger than the limits allow."""


class NotPossible(Invalid):
    """No codec of the registry does what was requested; the message says for each target why."""


class NotAnImage(Invalid):
    """The instance has nothing that can be shown as a picture; the message says what it is."""


class BadRenderOptions(Invalid):
    """What was requested does not exist for any image, or not for this one: a region, a kind of file."""


class NoSuchFrame(Invalid):
    """The image has no frame of this number: it was never there, or its data is missing."""
