// A registry of topics, used by three goroutines. A fourth is told of each new topic.
package main

import (
	"fmt"
	"sync"
)

type topic struct {
	lock  sync.Mutex
	depth int
}

type registry struct {
	lock    sync.RWMutex // is taken before the lock of a topic
	topics  map[string]*topic
	created chan string
	watched int
}

func (r *registry) get(name string) *topic {
	r.lock.RLock()
	t := r.topics[name]
	r.lock.RUnlock()
	if t != nil {
		return t
	}
	r.lock.Lock()
	t = r.topics[name] // it may have been made meanwhile
	isNew := t == nil
	if isNew {
		t = &topic{}
		r.topics[name] = t
	}
	r.lock.Unlock()
	if isNew {
		r.created <- name // while no lock is held
	}
	return t
}

func (r *registry) put(name string) {
	t := r.get(name)
	t.lock.Lock()
	t.depth++
	t.lock.Unlock()
}

func (r *registry) total() int {
	sum := 0
	r.lock.RLock()
	for _, t := range r.topics {
		t.lock.Lock()
		sum += t.depth
		t.lock.Unlock()
	}
	r.lock.RUnlock()
	return sum
}

func (r *registry) watch() {
	for range r.created {
		r.lock.RLock()
		r.watched = len(r.topics)
		r.lock.RUnlock()
	}
}

func main() {
	r := &registry{topics: map[string]*topic{}, created: make(chan string)}
	var putters, watchers sync.WaitGroup
	putters.Add(3)
	watchers.Add(1)
	go func() {
		defer watchers.Done()
		r.watch()
	}()
	for i := 0; i < 3; i++ {
		go func() {
			defer putters.Done()
			for i := 0; i < 300; i++ {
				r.put("abc"[i%3 : i%3+1])
			}
		}()
	}
	putters.Wait()
	close(r.created)
	watchers.Wait()
	fmt.Println(r.watched, "topics,", r.total(), "messages")
}
