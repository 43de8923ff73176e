// A peer that speaks SPDY as Kubernetes does, with the library that Kubernetes uses, for host/streaming/tests/go.rs.
//
//	spdy serve          listens, prints its address, and does on each stream what its header "do" says, after one byte "+"
//	spdy call ADDRESS   opens streams to such a server, checks what comes back, and prints "ok"
//	spdy slow ADDRESS   opens one stream, pings often, reads 24 MiB slowly, and prints "ok" when none was lost
//
// What streams do: "echo" sends back what it gets; "source" sends as many bytes as "size" says; "sink" sends back how many
// bytes it got; "refuse" is reset. All end their half with FIN.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/moby/spdystream"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		log.Fatal(serve())
	}
	calls := map[string]func(*spdystream.Connection) error{"call": call, "slow": slow}
	if len(os.Args) != 3 || calls[os.Args[1]] == nil {
		log.Fatal("usage: spdy serve | spdy call ADDRESS | spdy slow ADDRESS")
	}
	socket, err := net.Dial("tcp", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	connection, err := spdystream.NewConnection(socket, false)
	if err != nil {
		log.Fatal(err)
	}
	go connection.Serve(spdystream.NoOpStreamHandler)
	if err := calls[os.Args[1]](connection); err != nil {
		log.Fatal(err)
	}
	if err := connection.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ok")
}

func serve() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	for {
		socket, err := listener.Accept()
		if err != nil {
			return err
		}
		connection, err := spdystream.NewConnection(socket, true)
		if err != nil {
			return err
		}
		go connection.Serve(func(stream *spdystream.Stream) { go handle(stream) })
	}
}

func handle(stream *spdystream.Stream) {
	headers := stream.Headers()
	if headers.Get("do") == "refuse" {
		stream.Refuse()
		return
	}
	if err := stream.SendReply(http.Header{}, false); err != nil {
		log.Printf("stream %d: %v", stream.Identifier(), err)
		return
	}
	// The library sends its reply first, and notes that it has replied afterwards: what comes between the two it throws away.
	// Whoever waits for this byte is not that fast.
	_, err := stream.Write([]byte("+"))
	if err != nil {
		log.Printf("stream %d: %v", stream.Identifier(), err)
		return
	}
	switch headers.Get("do") {
	case "echo":
		_, err = io.Copy(stream, stream)
	case "source":
		var size int64
		if size, err = strconv.ParseInt(headers.Get("size"), 10, 64); err == nil {
			_, err = io.Copy(stream, &pattern{left: size})
		}
	case "sink":
		var size int64
		if size, err = io.Copy(io.Discard, stream); err == nil {
			_, err = fmt.Fprint(stream, size)
		}
	}
	if err == nil {
		err = stream.Close()
	}
	if err != nil {
		log.Printf("stream %d: %v", stream.Identifier(), err)
		stream.Reset()
	}
}

func call(connection *spdystream.Connection) error {
	var all sync.WaitGroup
	errs := make([]error, 32)
	for i := range errs {
		all.Go(func() {
			size := int64(1) << (i % 24)
			switch i % 4 {
			case 0, 1:
				errs[i] = echo(connection, size)
			case 2:
				errs[i] = source(connection, size)
			case 3:
				errs[i] = sink(connection, size)
			}
		})
	}
	for range 10 {
		if _, err := connection.Ping(); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
	}
	all.Wait()
	refused, err := connection.CreateStream(http.Header{"Do": {"refuse"}}, nil, false)
	if err != nil {
		return err
	}
	if err := refused.WaitTimeout(time.Minute); err == nil {
		return errors.New("a stream that should be refused was accepted")
	}
	// A ping after all that shows that nothing has upset either side.
	if _, err := connection.Ping(); err != nil {
		return fmt.Errorf("last ping: %w", err)
	}
	return errors.Join(errs...)
}

func slow(connection *spdystream.Connection) error {
	stream, err := open(connection, http.Header{})
	if err != nil {
		return err
	}
	pinged := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				pinged <- nil
				return
			case <-time.After(100 * time.Millisecond):
			}
			// Behind what is unread here, the echo may be late; it must not fail.
			if _, err := connection.Ping(); err != nil {
				pinged <- fmt.Errorf("ping: %w", err)
				return
			}
		}
	}()
	if err := check(&reluctant{stream}, 24<<20); err != nil {
		return err
	}
	close(stop)
	return <-pinged
}

// reluctant rests after every read.
type reluctant struct {
	io.Reader
}

func (r *reluctant) Read(bytes []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return r.Reader.Read(bytes)
}

func open(connection *spdystream.Connection, headers http.Header) (*spdystream.Stream, error) {
	stream, err := connection.CreateStream(headers, nil, false)
	if err != nil {
		return nil, err
	}
	return stream, stream.WaitTimeout(time.Minute)
}

func echo(connection *spdystream.Connection, size int64) error {
	stream, err := open(connection, http.Header{"Do": {"echo"}, "Padding": {"some more, which is ignored"}})
	if err != nil {
		return fmt.Errorf("echo of %d: %w", size, err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(stream, &pattern{left: size})
		sent <- errors.Join(err, stream.Close())
	}()
	if err := check(stream, size); err != nil {
		return fmt.Errorf("echo of %d: %w", size, err)
	}
	return <-sent
}

func source(connection *spdystream.Connection, size int64) error {
	stream, err := open(connection, http.Header{"Do": {"source"}, "Size": {strconv.FormatInt(size, 10)}})
	if err != nil {
		return fmt.Errorf("source of %d: %w", size, err)
	}
	if err := check(stream, size); err != nil {
		return fmt.Errorf("source of %d: %w", size, err)
	}
	return stream.Close()
}

func sink(connection *spdystream.Connection, size int64) error {
	stream, err := open(connection, http.Header{"Do": {"sink"}})
	if err != nil {
		return fmt.Errorf("sink of %d: %w", size, err)
	}
	if _, err := io.Copy(stream, &pattern{left: size}); err != nil {
		return fmt.Errorf("sink of %d: %w", size, err)
	}
	if err := stream.Close(); err != nil {
		return fmt.Errorf("sink of %d: %w", size, err)
	}
	answer, err := io.ReadAll(stream)
	if err != nil {
		return fmt.Errorf("sink of %d: %w", size, err)
	}
	if string(answer) != strconv.FormatInt(size, 10) {
		return fmt.Errorf("sink of %d got %s bytes", size, answer)
	}
	return nil
}

// pattern gives bytes that are a function of their place, so that a lost, doubled or misplaced one shows.
type pattern struct {
	at, left int64
}

func at(place int64) byte {
	return byte(uint32(place) * 2654435761 >> 24)
}

func (p *pattern) Read(bytes []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	count := min(int64(len(bytes)), p.left)
	for i := range bytes[:count] {
		bytes[i] = at(p.at + int64(i))
	}
	p.at += count
	p.left -= count
	return int(count), nil
}

func check(reader io.Reader, size int64) error {
	buffer := make([]byte, 10000)
	for place := int64(0); ; {
		count, err := reader.Read(buffer)
		for i, got := range buffer[:count] {
			if got != at(place+int64(i)) {
				return fmt.Errorf("byte %d is wrong", place+int64(i))
			}
		}
		place += int64(count)
		if err == io.EOF && place == size {
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", place, err)
		}
	}
}
