// A message that is requeued: it goes back into its channel's queue, and comes once more.
package main

import (
	"fmt"
	"sync"
)

type message struct {
	id       int
	attempts int
	way      string
}

type frame struct{ id, attempts int }

type channel struct {
	memory   chan *message
	socket   chan frame
	lock     sync.Mutex
	inFlight map[int]*message
}

func clientPump(c *channel) {
	for m := range c.memory {
		m.attempts++
		m.way += ", in flight"
		f := frame{m.id, m.attempts}
		c.lock.Lock()
		c.inFlight[m.id] = m
		c.lock.Unlock()
		c.socket <- f
	}
	close(c.socket)
}

func pop(c *channel, id int) *message {
	c.lock.Lock()
	defer c.lock.Unlock()
	m := c.inFlight[id]
	delete(c.inFlight, id)
	return m
}

// The client refuses what it gets for the first time.
func ioLoop(c *channel) {
	for f := range c.socket {
		m := pop(c, f.id)
		if f.attempts == 1 {
			m.way += ", REQ"
			c.memory <- m
		} else {
			fmt.Printf("%s, FIN: attempt %d\n", m.way, f.attempts)
			close(c.memory)
		}
	}
}

func main() {
	c := &channel{memory: make(chan *message, 8), socket: make(chan frame)}
	c.inFlight = map[int]*message{}
	c.memory <- &message{id: 1, way: "PUB"}
	go clientPump(c)
	ioLoop(c)
}
