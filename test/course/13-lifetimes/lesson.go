// A pump writes messages to a consumer. The consumer finishes each, perhaps before the write returns.
package main

import (
	"fmt"
	"sync"
)

type message struct {
	id   int
	body string
}

type client struct {
	wire, fins chan int    // what its socket carries: ids
	inFlight   [3]*message // set before the message is written; a FIN takes it out
	written    int         // bytes; the pump's own
	finished   int         // ioLoop's own
}

func (c *client) pump() {
	for i, body := range []string{"one", "two", "three"} {
		m := &message{i, body}
		c.inFlight[m.id] = m
		c.wire <- m.id
		c.written += len(m.body) // its FIN may have come
	}
	close(c.wire)
}

func (c *client) consumer() {
	for id := range c.wire {
		c.fins <- id
	}
	close(c.fins)
}

func (c *client) ioLoop() {
	for id := range c.fins {
		c.inFlight[id] = nil
		c.finished++
	}
}

func main() {
	c := &client{wire: make(chan int), fins: make(chan int)}
	var wg sync.WaitGroup
	for _, fn := range []func(){c.pump, c.consumer, c.ioLoop} {
		fn := fn
		wg.Add(1)
		go func() {
			defer wg.Done()
			fn()
		}()
	}
	wg.Wait()
	fmt.Println(c.written, "bytes written,", c.finished, "messages finished")
}
