// A hundred connections, each with a goroutine that reads numbers and answers with their sum.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

func serve(conn *os.File) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	sum := 0
	for {
		line, err := r.ReadString('\n') // the goroutine waits, and no thread does
		if err != nil {
			return
		}
		n, _ := strconv.Atoi(strings.TrimSpace(line))
		sum += n
		fmt.Fprintln(conn, sum)
	}
}

func connect() (conn, peer *os.File) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		panic(err)
	}
	return os.NewFile(uintptr(fds[0]), "conn"), os.NewFile(uintptr(fds[1]), "peer")
}

func main() {
	var wg sync.WaitGroup
	peers := make([]*os.File, 100)
	for i := range peers {
		conn, peer := connect()
		peers[i] = peer
		wg.Add(1)
		go func() {
			defer wg.Done()
			serve(conn)
		}()
	}
	for round := 0; round < 3; round++ {
		for i, p := range peers {
			fmt.Fprint(p, i) // the beginning of a line
		}
		total := 0
		for _, p := range peers {
			var sum int
			fmt.Fprint(p, "0\n") // its end
			fmt.Fscan(p, &sum)
			total += sum
		}
		fmt.Println(total)
	}
	for _, p := range peers {
		p.Close()
	}
	wg.Wait()
}
