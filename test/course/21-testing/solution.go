// A test of pause that no luck can pass or fail: it counts the worker's rounds, not the time.
package main

import "fmt"

type worker struct {
	obeys                   bool // false: it is broken, as in trap_sleep.c
	jobs, pause, look, exit chan int
}

func (w *worker) run() {
	jobs, done := w.jobs, 0
	for {
		select {
		case <-jobs:
			done++
		case paused := <-w.pause:
			jobs = w.jobs
			if paused == 1 && w.obeys {
				jobs = nil
			}
		case w.look <- done: // a round: so the worker runs, and has not chosen a job
		case <-w.exit:
			return
		}
	}
}

const rounds = 64 // a worker that could take a job chooses otherwise 64 times in a row: never

// done says how many jobs the worker has done, after so many rounds.
func (w *worker) done() (n int) {
	for i := 0; i < rounds; i++ {
		n = <-w.look
	}
	return n
}

func testPause(obeys bool) string {
	w := &worker{obeys, make(chan int, 1), make(chan int), make(chan int), make(chan int)}
	go w.run()
	defer close(w.exit)
	w.pause <- 1
	w.jobs <- 0
	if w.done() != 0 {
		return "FAILED: a paused worker has done a job"
	}
	w.pause <- 0
	if w.done() != 1 {
		return "FAILED: a worker does not go on"
	}
	return "ok"
}

func main() {
	fmt.Println(testPause(true))
	fmt.Println(testPause(false))
}
