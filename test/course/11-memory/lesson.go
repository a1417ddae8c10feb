// Three atomics: one publishes plain memory, one is a counter, one is a word to stop.
package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

var (
	limit int          // plain memory, read after ready is seen
	ready atomic.Bool  // publishes limit
	hits  atomic.Int64 // a counter
	stop  atomic.Bool  // nothing is read because of it
)

func worker() {
	for !ready.Load() {
		runtime.Gosched()
	}
	for i := 0; i < limit; i++ {
		hits.Add(1)
	}
}

func watcher() {
	for !stop.Load() {
		runtime.Gosched()
	}
}

func start(wg *sync.WaitGroup, fn func()) {
	wg.Add(1)
	go func() {
		defer wg.Done()
		fn()
	}()
}

func main() {
	var workers, watchers sync.WaitGroup
	start(&watchers, watcher)
	for i := 0; i < 3; i++ {
		start(&workers, worker)
	}
	limit = 1000
	ready.Store(true)
	workers.Wait()
	stop.Store(true)
	watchers.Wait()
	fmt.Println(hits.Load(), "hits")
}
