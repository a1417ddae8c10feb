// Three workers work until they are told to end: all of them, by one close.
package main

import (
	"fmt"
	"sync"
)

type worker struct {
	work     chan int
	exitChan chan int
	done     int
}

func (w *worker) loop() {
	for {
		select {
		case n := <-w.work:
			w.done += n
		case <-w.exitChan:
			return
		}
	}
}

func main() {
	var wg sync.WaitGroup
	work, exitChan := make(chan int), make(chan int)
	workers := make([]*worker, 3)
	for i := range workers {
		workers[i] = &worker{work: work, exitChan: exitChan}
		wg.Add(1)
		go func(w *worker) {
			defer wg.Done()
			w.loop()
		}(workers[i])
	}
	for i := 1; i <= 10; i++ {
		work <- i
	}
	close(exitChan)
	wg.Wait()
	sum := 0
	for _, w := range workers {
		sum += w.done
	}
	fmt.Println(sum)
}
