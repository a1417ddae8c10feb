// A chat server, and a conversation with it: each line that a client says is heard by all.
package main

import (
	"bufio"
	"fmt"
	"net"
	"sync"
)

type client struct {
	conn    net.Conn
	name    string      // the hub's
	dropped bool        // the hub's
	lines   chan string // the hub closes it
}

type said struct {
	c    *client
	text string
}

type server struct {
	listener    net.Listener
	join, leave chan *client
	said        chan said
	exitChan    chan int
	clients     map[*client]bool // the hub's
	wg          sync.WaitGroup
}

func (s *server) reader(c *client) {
	in := bufio.NewScanner(c.conn)
	for told := false; !told && in.Scan(); {
		select {
		case s.said <- said{c, in.Text()}:
		case <-s.exitChan:
			told = true
		}
	}
	s.leave <- c
}

func (s *server) writer(c *client) {
	for line := range c.lines {
		if _, err := fmt.Fprintln(c.conn, line); err != nil {
			break
		}
	}
	c.conn.Close()
}

func drop(c *client) {
	if !c.dropped {
		c.dropped = true
		close(c.lines)
		c.conn.Close()
	}
}

func (s *server) tellAll(line string) {
	for c := range s.clients {
		if c.dropped || c.name == "" {
			continue
		}
		select {
		case c.lines <- line:
		default:
			drop(c)
		}
	}
}

func (s *server) forget(c *client) {
	delete(s.clients, c)
	drop(c)
	if c.name != "" {
		s.tellAll("* " + c.name + " left")
	}
}

func (s *server) hear(c *client, text string) {
	if c.name == "" {
		c.name = text
		s.tellAll("* " + c.name + " joined")
	} else {
		s.tellAll(c.name + ": " + text)
	}
}

func (s *server) hub() {
	for {
		select {
		case c := <-s.join:
			s.clients[c] = true
		case c := <-s.leave:
			s.forget(c)
		case said := <-s.said:
			s.hear(said.c, said.text)
		case <-s.exitChan:
			for c := range s.clients {
				drop(c)
			}
			for len(s.clients) > 0 {
				s.forget(<-s.leave)
			}
			return
		}
	}
}

func (s *server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		conn.(*net.TCPConn).SetWriteBuffer(4096)
		c := &client{conn: conn, lines: make(chan string, 16)}
		select {
		case s.join <- c:
			s.wrap(func() { s.writer(c) })
			s.wrap(func() { s.reader(c) })
		case <-s.exitChan:
			conn.Close()
		}
	}
}

func (s *server) wrap(f func()) {
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		f()
	}()
}

func serve() *server {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s := &server{listener: listener, join: make(chan *client), leave: make(chan *client),
		said: make(chan said), exitChan: make(chan int), clients: map[*client]bool{}}
	s.wrap(s.hub)
	s.wrap(s.accept)
	return s
}

func (s *server) stop() {
	close(s.exitChan)
	s.listener.Close()
	s.wg.Wait()
}

type peer struct {
	name string
	conn net.Conn
	in   *bufio.Reader
}

func (s *server) dial(name string) *peer {
	conn, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		panic(err)
	}
	conn.(*net.TCPConn).SetReadBuffer(4096)
	return &peer{name, conn, bufio.NewReader(conn)}
}

func (p *peer) say(text string) { fmt.Fprintln(p.conn, text) }

func (p *peer) hears() string {
	line, err := p.in.ReadString('\n')
	if err != nil {
		return "the end"
	}
	return line[:len(line)-1]
}

func (p *peer) tells() { fmt.Println(p.name, "hears:", p.hears()) }

func main() {
	s := serve()
	ann, bob := s.dial("ann"), s.dial("bob")
	ann.say("ann")
	ann.tells()
	bob.say("bob")
	bob.tells()
	ann.tells()
	bob.say("hello")
	ann.tells()
	bob.tells()
	bob.conn.Close()
	ann.tells()

	eve, dan := s.dial("eve"), s.dial("dan") // eve reads nothing, and dan says nothing
	eve.say("eve")
	ann.tells()
	for heard := ""; heard != "* eve left"; heard = ann.hears() {
		ann.say("Is anybody there? Is anybody there? Is anybody there? Is anybody there?")
	}
	fmt.Println("eve is too slow")
	ann.tells()

	s.stop()
	ann.tells()
	dan.tells()
	fmt.Println("stopped")
}
