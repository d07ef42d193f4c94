"""What can go wrong with notifications, one class per cause."""

from controlplane.common.errors import Conflict, NotFound, TooMany


class ChannelUnknown(NotFound):
    """There is no such channel."""

    code = "channel_not_found"


class ChannelNameTaken(Conflict):
    """There is a channel of this name already."""

    code = "name_taken"


class ChannelBusy(TooMany):
    """It has used up what it may send for now."""

    code = "channel_budget_spent"


class RuleUnknown(NotFound):
    """There is no such rule."""

    code = "rule_not_found"


class RuleNameTaken(Conflict):
    """There is a rule of this name already."""

    code = "name_taken"


class RuleOfChannel(Conflict):
    """It is the rule of a channel's own, and changes with the channel."""

    code = "rule_of_channel"


class AlertUnknown(NotFound):
    """There is no such alert."""

    code = "alert_not_found"


class DeliveryUnknown(NotFound):
    """There is no such delivery."""

    code = "delivery_not_found"


class DeliveryNotFailed(Conflict):
    """Only what was given up can be sent again."""

    code = "delivery_not_failed"


class SilenceUnknown(NotFound):
    """There is no such silence."""

    code = "silence_not_found"


class SilenceOver(Conflict):
    """It has ended already."""

    code = "silence_over"


class SilenceBegun(Conflict):
    """It has begun: what it kept quiet is told of when it ends."""

    code = "silence_begun"
