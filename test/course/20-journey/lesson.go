// A message's journey in small: a topic, its pump, two channels, and a client of each. The owner of
// a record writes down each station, so the order of the stations is certain.
package main

import (
	"fmt"
	"sync"
)

type message struct {
	id       int
	body     []byte // all records of a message share it
	attempts int
	way      string
}

type channel struct {
	name     string
	memory   chan *message
	socket   chan string // to the client: the head of a frame, then the body
	lock     sync.Mutex
	inFlight map[int]*message
	said     string
}

// The topic's pump: each channel gets a record of its own.
func topicPump(memory chan *message, channels []*channel) {
	for m := range memory {
		m.way += ", topic's pump"
		for _, c := range channels {
			record := *m
			record.way += ", channel " + c.name
			c.memory <- &record
		}
	}
	for _, c := range channels {
		close(c.memory)
	}
}

// The client's pump: from the channel to the socket.
func clientPump(c *channel) {
	for m := range c.memory {
		m.attempts++
		m.way += ", in flight"
		head := fmt.Sprintf("%d %d", m.id, m.attempts)
		c.lock.Lock()
		c.inFlight[m.id] = m
		c.lock.Unlock()
		c.socket <- head
		c.socket <- string(m.body)
	}
	close(c.socket)
}

func finish(c *channel, id int) *message {
	c.lock.Lock()
	defer c.lock.Unlock()
	m := c.inFlight[id]
	delete(c.inFlight, id)
	return m
}

// The client, which reads a message and sends FIN, and its IOLoop, which executes that.
func ioLoop(c *channel) {
	for head := range c.socket {
		var id, attempts int
		fmt.Sscanf(head, "%d %d", &id, &attempts)
		body := <-c.socket
		m := finish(c, id)
		c.said = fmt.Sprintf("%s, FIN: %s, attempt %d", m.way, body, attempts)
	}
}

func main() {
	var wg sync.WaitGroup
	start := func(f func()) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			f()
		}()
	}
	memory := make(chan *message, 8)
	channels := []*channel{{name: "a"}, {name: "b"}}
	for _, c := range channels {
		c := c
		c.memory, c.socket = make(chan *message, 8), make(chan string, 8)
		c.inFlight = map[int]*message{}
		start(func() { clientPump(c) })
		start(func() { ioLoop(c) })
	}
	start(func() { topicPump(memory, channels) })
	memory <- &message{id: 1, body: []byte("hello"), way: "PUB"}
	close(memory)
	wg.Wait()
	for _, c := range channels {
		fmt.Println(c.said)
	}
}
