package main

import (
	"bytes"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Bytes that are written at once, as many as the mock's.
const chunk = 64 << 10

// Longer than any time with nanoseconds.
const longestTime = 40

// The log of a container that has written so many lines a second since it was started. Each is written with its time, as
// container runtimes do, which is taken off on the way to the caller, as kubelets do.
type source struct {
	started time.Time
	rate    float64
	width   int
}

var errEnough = errors.New("the caller has all that it asked for")

func (s *source) serveLogs(w http.ResponseWriter, req *http.Request) {
	left := int64(math.MaxInt64)
	if text := req.FormValue("limitBytes"); text != "" {
		limit, err := strconv.ParseInt(text, 10, 64)
		if err != nil || limit < 1 {
			http.Error(w, "limitBytes must be a number above 0", http.StatusUnprocessableEntity)
			return
		}
		left = limit
	}
	w.Header().Set("Content-Type", "text/plain")
	flusher := http.NewResponseController(w)
	output := make([]byte, 0, chunk)
	written := int64(0)
	for {
		lines := int64(time.Since(s.started).Seconds()*s.rate) + 1
		err := s.write(written, lines, req.PathValue("container"), func(input []byte) error {
			output = withoutTimes(output[:0], input)
			output = output[:min(int64(len(output)), left)]
			left -= int64(len(output))
			if _, err := w.Write(output); err != nil {
				return err
			}
			// As kubelets do after each write, so that whoever follows sees a line when it is there.
			if err := flusher.Flush(); err != nil {
				return err
			}
			if left == 0 {
				return errEnough
			}
			return nil
		})
		if err != nil || req.FormValue("follow") != "true" {
			return
		}
		written = lines
		select {
		case <-time.After(time.Until(s.started.Add(s.offset(lines)))):
		case <-req.Context().Done():
			return
		}
	}
}

// From the start to a line.
func (s *source) offset(line int64) time.Duration {
	return time.Duration(float64(line) / s.rate * 1e9)
}

func (s *source) write(from, to int64, container string, each func([]byte) error) error {
	text := make([]byte, 0, chunk+s.width+1024)
	var times times
	for line := from; line < to; line++ {
		text = times.append(text, s.started.Add(s.offset(line)))
		text = append(text, " "...)
		begin := len(text)
		text = append(text, "line "...)
		text = strconv.AppendInt(text, line, 10)
		text = append(text, " of "...)
		text = append(text, container...)
		text = append(text, ", run 0"...)
		for missing := s.width - (len(text) - begin); missing > 0; missing -= len(dots) {
			text = append(text, dots[:min(missing, len(dots))]...)
		}
		text = append(text, '\n')
		if len(text) >= chunk {
			if err := each(text); err != nil {
				return err
			}
			text = text[:0]
		}
	}
	if len(text) == 0 {
		return nil
	}
	return each(text)
}

// Writes times one after the other: many are in the same second, of which all but the fraction is known then.
type times struct {
	second int64
	text   []byte
}

func (t *times) append(text []byte, at time.Time) []byte {
	if second := at.Unix(); t.text == nil || t.second != second {
		t.second = second
		t.text = at.UTC().AppendFormat(nil, "2006-01-02T15:04:05")
	}
	text = append(text, t.text...)
	digits := [...]byte{'.', '0', '0', '0', '0', '0', '0', '0', '0', '0', 'Z'}
	for place, fraction := 9, at.Nanosecond(); fraction > 0; place, fraction = place-1, fraction/10 {
		digits[place] += byte(fraction % 10)
	}
	return append(text, digits[:]...)
}

const dots = "................................................................"

// Whole lines without the first word of each.
func withoutTimes(output, input []byte) []byte {
	for len(input) > 0 {
		if end := bytes.IndexByte(input[:min(longestTime, len(input))], ' '); end >= 0 {
			input = input[end+1:]
		}
		end := bytes.IndexByte(input, '\n') + 1
		if end == 0 {
			end = len(input)
		}
		output = append(output, input[:end]...)
		input = input[end:]
	}
	return output
}
