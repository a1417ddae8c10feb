// A reader waits at a connection. main closes it meanwhile, and the reader wakes.
package main

import (
	"errors"
	"fmt"
	"net"
)

// Two ends of a connection.
func connect() (server, client net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		panic(err)
	}
	if server, err = l.Accept(); err != nil {
		panic(err)
	}
	return server, client
}

func readLoop(conn net.Conn, read, left chan struct{}) {
	buf := make([]byte, 16)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			break
		}
		fmt.Printf("the reader reads: %s\n", buf[:n])
		read <- struct{}{}
	}
	fmt.Println("the reader leaves")
	close(left)
}

func main() {
	server, client := connect()
	read, left := make(chan struct{}), make(chan struct{})
	go readLoop(server, read, left)
	client.Write([]byte("hello"))
	<-read
	server.Close() // from outside
	<-left
	_, err := client.Read(make([]byte, 16))
	fmt.Println("the client reads:", err)
}
