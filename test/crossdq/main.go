// SPDX-License-Identifier: MIT

// Writes, reads and times disk queues with stock's library; crossdq.c does the
// same with ours. Usage: see crossdq.c.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nsqio/go-diskqueue"
)

const (
	headerLen  = 26
	maxMsgSize = 1024 * 1024
	baseTS     = 1700000000000000000
)

func bodyLen(seq int64) int {
	switch {
	case seq%401 == 400:
		return maxMsgSize
	case seq%50 == 7:
		return 20000 + int(seq%1000)
	case seq%10 == 0:
		return 1
	}
	return int(seq*7919%700) + 1
}

func record(seq int64, n int) []byte {
	b := make([]byte, headerLen+n)
	binary.BigEndian.PutUint64(b, uint64(baseTS+seq))
	binary.BigEndian.PutUint16(b[8:], uint16(seq%5))
	copy(b[10:], fmt.Sprintf("%016x", seq))
	for i := 0; i < n; i++ {
		b[headerLen+i] = byte(uint64(seq)*31 + uint64(i)*7 + uint64(i>>8))
	}
	return b
}

func die(f string, args ...interface{}) {
	fmt.Fprintf(os.Stderr, "stock: "+f+"\n", args...)
	os.Exit(1)
}

func num(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		die("%s", err)
	}
	return n
}

func logf(lvl diskqueue.LogLevel, f string, args ...interface{}) {
	if lvl >= diskqueue.WARN {
		fmt.Fprintf(os.Stderr, "stock: "+lvl.String()+": "+f+"\n", args...)
	}
}

func get(q diskqueue.Interface) []byte {
	select {
	case b := <-q.ReadChan():
		return b
	case <-time.After(20 * time.Second):
		die("nothing to read")
	}
	return nil
}

func bench(q diskqueue.Interface, n int64, size int) {
	r := record(1, size)
	start := time.Now()
	for i := int64(0); i < n; i++ {
		if err := q.Put(r); err != nil {
			die("%s", err)
		}
	}
	put := time.Since(start)
	start = time.Now()
	for i := int64(0); i < n; i++ {
		<-q.ReadChan()
	}
	fmt.Printf("stock put %d/s get %d/s\n", int64(float64(n)/put.Seconds()),
		int64(float64(n)/time.Since(start).Seconds()))
}

func main() {
	if len(os.Args) != 7 {
		die("usage: put|get|bench DIR NAME MAX-BYTES-PER-FILE FIRST|SIZE COUNT")
	}
	q := diskqueue.New(os.Args[3], os.Args[2], num(os.Args[4]), headerLen, maxMsgSize+headerLen,
		2500, 2*time.Second, logf)
	first, n := num(os.Args[5]), num(os.Args[6])
	switch os.Args[1] {
	case "put":
		for seq := first; seq < first+n; seq++ {
			if err := q.Put(record(seq, bodyLen(seq))); err != nil {
				die("put %d: %s", seq, err)
			}
		}
	case "get":
		for seq := first; seq < first+n; seq++ {
			if !bytes.Equal(get(q), record(seq, bodyLen(seq))) {
				die("message %d is not what it was", seq)
			}
		}
	case "bench":
		bench(q, n, int(first))
	default:
		die("unknown command %s", os.Args[1])
	}
	fmt.Println(q.Depth())
	if err := q.Close(); err != nil {
		die("close: %s", err)
	}
}
