"""Which topics and channels a soak has, and what may be done to them."""


class Topics:
    """Which topics and channels there are, and what may be done to them."""

    KEPT = {'kept': ('x', 'y', 'z'), 'kept.one': ('x',), 'kept.stored': ('s',)}
    EMPTIED = {'emptied': ('x', 'y')}
    DELETED = {'deleted': ('x', 'y'), 'deleted.often': ('x',)}
    FLEETING = {'fleeting#ephemeral': ('x', 'y#ephemeral')}
    # Nobody consumes from it before the end: what a kill may take from it is only what memory had.
    UNREAD = 'kept.stored'

    FIXED = {**KEPT, **EMPTIED}
    ALL = {**FIXED, **DELETED, **FLEETING}

    @classmethod
    def to_publish(cls, rng):
        return rng.choice(['kept'] * 5 + ['kept.one'] * 3 + ['kept.stored'] * 2 + ['emptied'] * 2
                          + ['deleted'] * 2 + ['deleted.often', 'fleeting#ephemeral'])

    @classmethod
    def to_consume(cls, rng):
        topic = rng.choice(['kept'] * 6 + ['kept.one'] * 2 + ['emptied'] * 2 + ['deleted'] * 2
                           + ['deleted.often', 'fleeting#ephemeral'])
        channels = cls.ALL[topic]
        if topic == 'kept' and rng.random() < 0.1:
            return topic, 'e#ephemeral'
        return topic, rng.choice(channels)
