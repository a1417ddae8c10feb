// The go-nsq side of the interop tests: one of three programs that all speak
// the same language with the runner. README.md beside run.py describes it.
package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nsqio/go-nsq"
)

// event is one line to the runner.
type event struct {
	Event     string  `json:"event"`
	Consumer  int     `json:"consumer"`
	ID        string  `json:"id,omitempty"`
	Attempts  uint16  `json:"attempts,omitempty"`
	Timestamp string  `json:"timestamp,omitempty"`
	Size      int     `json:"size,omitempty"`
	SHA256    string  `json:"sha256,omitempty"`
	At        float64 `json:"at,omitempty"`
	Index     *int    `json:"index,omitempty"`
	Error     string  `json:"error,omitempty"`
}

var stdout = struct {
	sync.Mutex
	*json.Encoder
}{Encoder: json.NewEncoder(os.Stdout)}

func emit(e event) {
	stdout.Lock()
	defer stdout.Unlock()
	if err := stdout.Encode(e); err != nil {
		os.Exit(1) // the runner is gone
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// logger makes an event of each error that the library logs.
type logger struct{ consumer int }

func (l logger) Output(_ int, line string) error {
	emit(event{Event: "error", Consumer: l.consumer, Error: line})
	return nil
}

func main() {
	if len(os.Args) < 2 {
		fatal(fmt.Errorf("usage: %s publish|consume -nsqd ADDRESS ...", os.Args[0]))
	}
	switch flags := os.Args[2:]; os.Args[1] {
	case "publish":
		publish(flags)
	case "consume":
		consume(flags)
	default:
		fatal(fmt.Errorf("%s: neither publish nor consume", os.Args[1]))
	}
}

// order is one line from the runner to a publisher.
type order struct {
	Op     string   `json:"op"`
	Topic  string   `json:"topic"`
	Bodies [][]byte `json:"bodies"`
	Delay  int      `json:"delay"` // in milliseconds
}

// layers are the flags about what the bytes of a connection go through.
type layers struct{ ca, cert, key, compression string }

func (l *layers) add(flags *flag.FlagSet) {
	flags.StringVar(&l.ca, "tls-ca", "", "use TLS; who signed the certificate of nsqd")
	flags.StringVar(&l.cert, "tls-cert", "", "certificate of the client")
	flags.StringVar(&l.key, "tls-key", "", "its key")
	flags.StringVar(&l.compression, "compression", "", "snappy or deflate")
}

// config is go-nsq's, with these layers. Not by way of its options, which stop
// at TLS 1.2.
func (l *layers) config() *nsq.Config {
	config := nsq.NewConfig()
	// The time for a write includes that for the compression of it all: go-nsq's
	// second is not enough for 5 MB on a busy machine.
	config.WriteTimeout = 30 * time.Second
	if l.ca != "" {
		pem, err := os.ReadFile(l.ca)
		if err != nil {
			fatal(err)
		}
		config.TlsV1 = true
		config.TlsConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		config.TlsConfig.RootCAs.AppendCertsFromPEM(pem)
	}
	if l.cert != "" {
		pair, err := tls.LoadX509KeyPair(l.cert, l.key)
		if err != nil {
			fatal(err)
		}
		config.TlsConfig.Certificates = []tls.Certificate{pair}
	}
	config.Snappy = l.compression == "snappy"
	config.Deflate = l.compression == "deflate"
	return config
}

func publish(args []string) {
	flags := flag.NewFlagSet("publish", flag.ExitOnError)
	address := flags.String("nsqd", "", "TCP address of nsqd")
	var through layers
	through.add(flags)
	flags.Parse(args)

	producer, err := nsq.NewProducer(*address, through.config())
	if err != nil {
		fatal(err)
	}
	producer.SetLogger(logger{}, nsq.LogLevelError)
	defer producer.Stop()

	orders := json.NewDecoder(os.Stdin)
	for {
		var o order
		if err := orders.Decode(&o); err == io.EOF {
			return
		} else if err != nil {
			fatal(err)
		}
		carryOut(producer, o)
		emit(event{Event: "published"})
	}
}

// failed says that the library did not publish the body with that index, and why.
func failed(index int, err error) {
	emit(event{Event: "failed", Index: &index, Error: err.Error()})
}

func carryOut(producer *nsq.Producer, o order) {
	if o.Op == "mpub" {
		if err := producer.MultiPublish(o.Topic, o.Bodies); err != nil {
			failed(0, err)
		}
		return
	}
	done := make(chan *nsq.ProducerTransaction, len(o.Bodies))
	delay := time.Duration(o.Delay) * time.Millisecond
	sent := 0
	for i, body := range o.Bodies {
		var err error
		switch o.Op {
		case "pub":
			err = producer.PublishAsync(o.Topic, body, done, i)
		case "dpub":
			err = producer.DeferredPublishAsync(o.Topic, delay, body, done, i)
		default:
			err = fmt.Errorf("%s: no such order", o.Op)
		}
		if err != nil {
			failed(i, err)
		} else {
			sent++
		}
	}
	for ; sent > 0; sent-- {
		if t := <-done; t.Error != nil {
			failed(t.Args[0].(int), t.Error)
		}
	}
}

// handler answers the messages of one consumer as the runner asked for.
type handler struct {
	consumer int
	mode     string
	attempts uint16 // finish a message on this attempt; mode says what happens before
	delay    time.Duration
	hold     time.Duration
	beat     time.Duration

	mu   sync.Mutex
	held []*nsq.Message
}

func (h *handler) HandleMessage(m *nsq.Message) error {
	if h.mode == "hold" && m.Attempts < h.attempts {
		h.mu.Lock() // before the runner hears of it, and may release it
		h.held = append(h.held, m)
		h.mu.Unlock()
	}
	sum := sha256.Sum256(m.Body)
	emit(event{
		Event: "message", Consumer: h.consumer, ID: string(m.ID[:]), Attempts: m.Attempts,
		Timestamp: strconv.FormatInt(m.Timestamp, 10), Size: len(m.Body),
		SHA256: hex.EncodeToString(sum[:]), At: float64(time.Now().UnixNano()) / 1e9,
	})

	if h.mode == "touch" {
		ticker := time.NewTicker(h.beat)
		defer ticker.Stop()
		for end := time.Now().Add(h.hold); time.Now().Before(end); <-ticker.C {
			m.Touch()
		}
	} else if m.Attempts < h.attempts {
		m.DisableAutoResponse()
		switch h.mode {
		case "requeue":
			m.RequeueWithoutBackoff(h.delay)
		case "backoff":
			m.Requeue(h.delay)
		}
		return nil
	}
	emit(event{Event: "finish", Consumer: h.consumer, ID: string(m.ID[:])})
	return nil
}

// take returns the messages that were held.
func (h *handler) take() []*nsq.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.held
	h.held = nil
	return held
}

// release finishes, too late, the messages that were held, and none that comes meanwhile.
func release(handlers []*handler) {
	var held []*nsq.Message
	for _, h := range handlers {
		held = append(held, h.take()...)
	}
	for _, m := range held {
		m.Finish()
	}
}

func consume(args []string) {
	flags := flag.NewFlagSet("consume", flag.ExitOnError)
	address := flags.String("nsqd", "", "TCP address of nsqd")
	topic := flags.String("topic", "", "topic")
	channel := flags.String("channel", "", "channel")
	consumers := flags.Int("consumers", 1, "how many consumers")
	maxInFlight := flags.Int("max-in-flight", 1, "of each consumer")
	msgTimeout := flags.Int("msg-timeout", 0, "in milliseconds; 0 for nsqd's default")
	mode := flags.String("mode", "finish", "finish, requeue, backoff, hold or touch")
	attempts := flags.Int("attempts", 1, "the attempt on which a message is finished")
	delay := flags.Int("delay", 0, "of a requeue, in milliseconds")
	hold := flags.Int("hold", 0, "how long a touched message is held, in milliseconds")
	maxAttempts := flags.Int("max-attempts", 0, "the library gives up after so many; 0: never")
	var through layers
	through.add(flags)
	flags.Parse(args)

	config := through.config()
	config.MaxInFlight = *maxInFlight
	config.MsgTimeout = time.Duration(*msgTimeout) * time.Millisecond
	config.MaxAttempts = uint16(*maxAttempts)
	config.BackoffMultiplier = 100 * time.Millisecond
	config.LookupdPollInterval = 100 * time.Millisecond // also that of a reconnect

	var running []*nsq.Consumer
	var handlers []*handler
	for i := 0; i < *consumers; i++ {
		h := &handler{
			consumer: i,
			mode:     *mode,
			attempts: uint16(*attempts),
			delay:    time.Duration(*delay) * time.Millisecond,
			hold:     time.Duration(*hold) * time.Millisecond,
			beat:     time.Duration(*msgTimeout) * time.Millisecond / 4,
		}
		consumer, err := nsq.NewConsumer(*topic, *channel, config)
		if err != nil {
			fatal(err)
		}
		consumer.SetLogger(logger{i}, nsq.LogLevelError)
		consumer.AddConcurrentHandlers(h, *maxInFlight)
		if err := consumer.ConnectToNSQD(*address); err != nil {
			fatal(err)
		}
		running = append(running, consumer)
		handlers = append(handlers, h)
	}

	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if lines.Text() == "release" {
			release(handlers)
		}
	}
	for _, consumer := range running {
		consumer.Stop()
	}
	for _, consumer := range running {
		<-consumer.StopChan
	}
}
