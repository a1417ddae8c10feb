// A queue that one goroutine owns. All others ask for what they want, over chans.
package main

import (
	"fmt"
	"sync"
)

const room = 8

type request struct {
	value    int
	response chan int // the place that the value has got
}

type queue struct {
	readChan  chan int
	writeChan chan request
	depthChan chan int
	exitChan  chan bool
}

func (q *queue) ioLoop() {
	var items []int // the loop's own, and nobody else's
	places := 0
	for {
		read, write, next := q.readChan, q.writeChan, 0
		if len(items) == 0 {
			read = nil
		} else {
			next = items[0]
		}
		if len(items) == room {
			write = nil
		}
		select {
		case read <- next:
			items = items[1:]
		case req := <-write:
			items = append(items, req.value)
			places++
			req.response <- places
		case q.depthChan <- len(items):
		case <-q.exitChan:
			return
		}
	}
}

func (q *queue) put(value int) int {
	req := request{value, make(chan int, 1)}
	q.writeChan <- req
	return <-req.response
}

func main() {
	q := &queue{make(chan int), make(chan request), make(chan int), make(chan bool)}
	var loop, putters sync.WaitGroup
	loop.Add(1)
	go func() {
		defer loop.Done()
		q.ioLoop()
	}()
	for i := 1; i <= 3; i++ {
		fmt.Println("put", i, "in place", q.put(i))
	}
	fmt.Println("depth", <-q.depthChan)
	var places [4]int
	for i := range places {
		i := i
		putters.Add(1)
		go func() {
			defer putters.Done()
			for v := 1; v <= 25; v++ {
				places[i] += q.put(v)
			}
		}()
	}
	sum := 0
	for i := 0; i < 103; i++ {
		sum += <-q.readChan
	}
	putters.Wait()
	fmt.Println("values", sum, "places", places[0]+places[1]+places[2]+places[3])
	fmt.Println("depth", <-q.depthChan)
	close(q.exitChan)
	loop.Wait()
}
