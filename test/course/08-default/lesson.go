// Two topics with room for three messages each. What finds no room goes to the disk.
package main

import (
	"fmt"
	"sync"
)

type topic struct {
	memory chan int
	disk   chan int // of both topics
}

// put does not wait for room in memory.
func (t topic) put(v int) {
	select {
	case t.memory <- v:
	default:
		t.disk <- v
	}
}

// collect takes what is in memory now, and waits for nothing.
func collect(a, b topic) (n, sum int) {
	for {
		select {
		case v := <-a.memory:
			n, sum = n+1, sum+v
		case v := <-b.memory:
			n, sum = n+1, sum+v
		default:
			return n, sum
		}
	}
}

func main() {
	disk := make(chan int)
	a, b := topic{make(chan int, 3), disk}, topic{make(chan int, 3), disk}
	var publishers, writer sync.WaitGroup
	written, sum := 0, 0
	writer.Add(1)
	go func() {
		defer writer.Done()
		for v := range disk {
			written, sum = written+1, sum+v
		}
	}()
	publish := func(t topic, step int) {
		defer publishers.Done()
		for i := 1; i <= 5; i++ {
			t.put(i * step)
		}
	}
	publishers.Add(2)
	go publish(a, 1)
	go publish(b, 10)
	publishers.Wait()
	close(disk)
	writer.Wait()
	fmt.Println("on disk:", written, "messages, sum", sum)
	n, inMemory := collect(a, b)
	fmt.Println("in memory:", n, "messages, sum", inMemory)
}
