/* SPDX-License-Identifier: MIT */
/*
 * Delivery on behalf of the client's pump, and the token that says which thread may deliver (Go has
 * no such thing: there only messagePump sends messages).
 *
 * Why. A consumer with a small RDY has all of it in flight nearly always. Then each FIN would wake
 * its pump, which would ask the channel's pump, which would wake it again: three switches between
 * threads for one message, where goroutines pay next to nothing. So threads that are awake do what
 * they can on its behalf:
 *  - io_loop, with a FIN, takes messages that wait in the channel's memory, and writes them as the
 *    pump would (protocol_v2_deliver_inline), but for large ones;
 *  - where none waits, io_loop gives the pump, which sleeps in its select without room, the room
 *    that there is now (chan_give_room). So the pump stands in line for the next message without
 *    having been awake;
 *  - the channel's pump, when that message comes, takes the room back from the first in line
 *    (chan_take_room), and writes the message (protocol_v2_deliver_for_pump): only to a plain
 *    socket, only a small one, and only if it is all that the client has room for, so that the pump
 *    would flush at once.
 * Neither of the two waits for the peer: what the socket does not take at once is left to the pump
 * (STREAM_NOW, client_v2.unsent).
 *
 * The token. Only its holder may compare RDY with what is in flight and send by the difference, so
 * the three threads together never exceed RDY (client_v2.delivery).
 *
 *   state of the client        holder                  may write   how that ends
 *   pump awake, with room      the pump                the pump    its turn of the loop is over
 *   pump in line for messages  the pump                nobody      a message or another case wakes
 *     (asleep, room.n > 0)                                         it; or chan_take_room takes
 *                                                                  the token with the room
 *   pump asleep, or awake,     none, or io_loop, or    the holder  it releases the token; or gives
 *     without room (0)           the channel's pump                it to the sleeping pump with
 *                                                                  the room (chan_give_room)
 *
 * A pump sees by its room, when its select returns, whether it holds the token. A thread that wants
 * the token and does not get it may go on: the holder looks at the room once more when it has
 * released the token, and tells the pump if there is any.
 *
 * The channel's pump holds channel.lock for reading while it delivers, and takes room only from a
 * pump that sleeps. io_loop closes exit_chan, which wakes its pump for good, before it takes the
 * client out of the channel with that lock held for writing. So the client is still there.
 */
#ifndef NSQD_PROTOCOL_V2_DELIVER_H
#define NSQD_PROTOCOL_V2_DELIVER_H

#include <stdbool.h>

#include "common/err.h"

struct channel;
struct client_v2;
struct message;

/*
 * After FINs or REQs have made a client ready that was not: writes messages that wait in its
 * channel's memory (*unflushed: the caller is to flush them, with client_v2_try_flush). Room that
 * is left goes to the pump; where that does not sleep, it is told. Never waits for the peer, nor
 * for a thread that does. -1 with err set: the messages cannot be written. io_loop.
 */
int protocol_v2_deliver_inline(struct client_v2 *c, bool *unflushed, struct err *err);

/*
 * consumer_ops.deliver: writes m, if that can be done at once. The caller has taken the room of the
 * client's pump, and the token with it, which is given back here. It holds ch->lock for reading.
 * True: m is in flight (takes over the caller's reference). The channel's pump. Never blocks. Takes
 * write_lock and what channel_start_in_flight_timeout takes.
 */
bool protocol_v2_deliver_for_pump(struct client_v2 *c, struct channel *ch, struct message *m);

/* May the channel's pump deliver to this client, by what IDENTIFY has set? The client's pump. */
bool protocol_v2_may_deliver_for_pump(const struct client_v2 *c, const struct channel *ch);

#endif
