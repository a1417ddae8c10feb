// A log that one goroutine writes, and two channels with a cursor each, before and after a crash.
package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"sync"
)

const atOnce = 64

type request struct {
	text string
	done chan error
}

// log has each message once, in order. Message n is the n-th record of its file.
type log struct {
	file       *os.File
	appendChan chan *request
	turn       chan bool // has one value: a receiver of it may write
	syncs      int       // guarded by turn
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A record is a length, a checksum, and a text.
func addRecord(records []byte, text string) []byte {
	var head [8]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(text)))
	binary.BigEndian.PutUint32(head[4:], crc32.Checksum([]byte(text), castagnoli))
	return append(append(records, head[:]...), text...)
}

// recoverTexts returns the texts of all whole records, and where they end.
func recoverTexts(data []byte) (texts []string, end int) {
	for len(data)-end >= 8 {
		size := int(binary.BigEndian.Uint32(data[end:]))
		if size == 0 || size > len(data)-end-8 {
			break
		}
		text := data[end+8 : end+8+size]
		if crc32.Checksum(text, castagnoli) != binary.BigEndian.Uint32(data[end+4:]) {
			break
		}
		texts = append(texts, string(text))
		end += 8 + size
	}
	return texts, end
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// commit writes all of them in one go. They are kept, or none is.
func (l *log) commit(reqs []*request) error {
	var records []byte
	for _, r := range reqs {
		records = addRecord(records, r.text)
	}
	if _, err := l.file.Write(records); err != nil {
		return err
	}
	l.syncs++
	return l.file.Sync()
}

// writer takes all requests that wait, and answers them when they are on the disk.
func (l *log) writer() {
	for first := range l.appendChan {
		reqs := []*request{first}
		<-l.turn
		for more := true; more && len(reqs) < atOnce; {
			select {
			case r := <-l.appendChan:
				reqs = append(reqs, r)
			default:
				more = false
			}
		}
		err := l.commit(reqs)
		l.turn <- true
		for _, r := range reqs {
			r.done <- err
		}
	}
}

func (l *log) ask(text string) *request {
	r := &request{text, make(chan error, 1)}
	l.appendChan <- r
	return r
}

// open cuts off what a crash has left at the end, and returns the texts before it.
func open(path string) (*log, []string) {
	data, _ := os.ReadFile(path)
	texts, end := recoverTexts(data)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0600)
	must(err)
	must(file.Truncate(int64(end)))
	_, err = file.Seek(int64(end), 0)
	must(err)
	l := &log{file, make(chan *request, atOnce), make(chan bool, 1), 0}
	l.turn <- true
	return l, texts
}

// cursor is what a channel knows of the log. All messages before floor are finished.
type cursor struct {
	floor    int
	finished map[int]bool // behind it
}

func (c *cursor) finish(n int) {
	c.finished[n] = true
	for c.finished[c.floor] {
		delete(c.finished, c.floor)
		c.floor++
	}
}

// save replaces the file: a program that opens it finds the old cursor or the new one.
func (c *cursor) save(path string) {
	text := fmt.Sprintln(c.floor)
	for n := range c.finished {
		text += fmt.Sprintln(n)
	}
	must(os.WriteFile(path+".tmp", []byte(text), 0600))
	must(os.Rename(path+".tmp", path))
}

// load returns a cursor that has finished nothing if there is no file.
func load(path string) *cursor {
	c := &cursor{0, map[int]bool{}}
	data, _ := os.ReadFile(path)
	in := strings.NewReader(string(data))
	fmt.Fscan(in, &c.floor)
	for n := 0; ; c.finished[n] = true {
		if _, err := fmt.Fscan(in, &n); err != nil {
			return c
		}
	}
}

// wanted says which messages of the log the channel still has to deliver.
func (c *cursor) wanted(end int) string {
	var text string
	for n := c.floor; n < end; n++ {
		if !c.finished[n] {
			text += fmt.Sprint(" ", n)
		}
	}
	return text
}

func publish() {
	var loop, asked, answered sync.WaitGroup
	l, _ := open("log")
	loop.Add(1)
	go func() {
		defer loop.Done()
		l.writer()
	}()
	for i := 0; i < 3; i++ {
		must(<-l.ask("one of three").done)
	}
	fmt.Println("3 one after the other:", l.syncs, "syncs")

	<-l.turn // the disk is slow today
	before := l.syncs
	for i := 0; i < 5; i++ {
		asked.Add(1)
		answered.Add(1)
		go func() {
			defer answered.Done()
			r := l.ask("one of five")
			asked.Done()
			must(<-r.done)
		}()
	}
	asked.Wait()
	l.turn <- true
	answered.Wait()
	fmt.Println("5 at the same moment:", l.syncs-before, "sync")
	close(l.appendChan)
	loop.Wait()
	must(l.file.Close())
}

func main() {
	publish()
	mail, orders := load("mail.cursor"), load("orders.cursor")
	for _, n := range []int{0, 1, 2, 4, 6} {
		mail.finish(n)
	}
	mail.save("mail.cursor")
	orders.finish(0)
	orders.save("orders.cursor")
	orders.finish(1) // nobody saves that

	// A crash: what was in memory is gone, and a record is at the log's end in part.
	torn := addRecord(nil, "nobody was told of this")
	file, err := os.OpenFile("log", os.O_APPEND|os.O_WRONLY, 0600)
	must(err)
	_, err = file.Write(torn[:len(torn)-1])
	must(err)
	must(file.Close())

	l, texts := open("log")
	must(l.file.Close())
	fmt.Println("after the crash:", len(texts), "messages in the log")
	fmt.Println("mail gets" + load("mail.cursor").wanted(len(texts)))
	fmt.Println("orders gets" + load("orders.cursor").wanted(len(texts)))
	fmt.Println("news gets" + load("news.cursor").wanted(len(texts)))
}
