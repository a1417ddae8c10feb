// SPDX-License-Identifier: MIT

// The programs of bench_chan.c in Go. Go has no vectored operations, so there
// is one size of batch. A mutex is a sync.Mutex; there is no bare futex.
package main

import (
	"fmt"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const runTime = 60 * time.Millisecond

type value = unsafe.Pointer

func cpu() time.Duration {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func measure(key string, fn func(n int)) {
	for n := 2048; ; n *= 2 {
		start, c := time.Now(), cpu()
		fn(n)
		took := time.Since(start)
		if took < runTime {
			continue
		}
		fmt.Printf("%s\t%.1f\t%.1f\n", key, float64(took)/float64(n),
			float64(cpu()-c)/float64(n))
		return
	}
}

func mutexPair(n int) {
	var m sync.Mutex
	for i := 0; i < n; i++ {
		m.Lock()
		m.Unlock()
	}
}

func tryPair(n int) {
	c := make(chan value, 1)
	for i := 0; i < n; i++ {
		select {
		case c <- nil:
		default:
			panic("full")
		}
		select {
		case <-c:
		default:
			panic("empty")
		}
	}
}

func makeChans(k int) []chan value {
	c := make([]chan value, k)
	for i := range c {
		c[i] = make(chan value, 1)
	}
	return c
}

func select4(n int) {
	c := makeChans(4)
	for i := 0; i < n; i++ {
		c[i%4] <- nil
		select {
		case <-c[0]:
		case <-c[1]:
		case <-c[2]:
		case <-c[3]:
		}
	}
}

func select8(n int) {
	c := makeChans(8)
	for i := 0; i < n; i++ {
		c[i%8] <- nil
		select {
		case <-c[0]:
		case <-c[1]:
		case <-c[2]:
		case <-c[3]:
		case <-c[4]:
		case <-c[5]:
		case <-c[6]:
		case <-c[7]:
		}
	}
}

func stream(capacity, threads int) func(n int) {
	return func(n int) {
		c := make(chan value, capacity)
		var producers, consumers sync.WaitGroup
		for i := 0; i < threads; i++ {
			consumers.Add(1)
			go func() {
				for range c {
				}
				consumers.Done()
			}()
			producers.Add(1)
			go func() {
				for i := 0; i < n/threads; i++ {
					c <- nil
				}
				producers.Done()
			}()
		}
		producers.Wait()
		close(c)
		consumers.Wait()
	}
}

func turns(n int, peer func(c, back chan value)) {
	c, back := make(chan value), make(chan value)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		peer(c, back)
		wg.Done()
	}()
	for i := 0; i < n; i++ {
		c <- nil
		<-back
	}
	close(c)
	wg.Wait()
}

func pingpong(n int) {
	turns(n, func(c, back chan value) {
		for v := range c {
			back <- v
		}
	})
}

func pingpongSelect(n int) {
	a, b, d := make(chan int), make(chan int), make(chan int)
	turns(n, func(c, back chan value) {
		for {
			select {
			case <-a:
			case v, ok := <-c:
				if !ok {
					return
				}
				back <- v
			case <-b:
			case <-d:
			}
		}
	})
}

func main() {
	measure("mutex lock + unlock", mutexPair)
	measure("try send + try receive, one thread", tryPair)
	measure("send + select of 4, one ready", select4)
	measure("send + select of 8, one ready", select8)
	for _, capacity := range []int{0, 1, 128, 10000} {
		measure(fmt.Sprintf("1:1, capacity %d, by 1", capacity), stream(capacity, 1))
	}
	measure("4:4, capacity 128, by 1", stream(128, 4))
	measure("unbuffered, there and back", pingpong)
	measure("same through a select of 4", pingpongSelect)
}
