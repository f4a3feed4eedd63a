package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Kind is what a line of the console is.
type Kind string

// Kinds of lines.
const (
	Other  Kind = "" // not the guest's
	Begin  Kind = "begin"
	Server Kind = "server"
	Client Kind = "client"
	End    Kind = "end"
	Done   Kind = "done"
	Failed Kind = "failed"
)

// Line is one of the console.
type Line struct {
	Kind Kind
	Text string        // a step's name, a process's line, why it failed; or the whole line
	Took time.Duration // End
}

const mark = "@@ "

// String is the line as the guest prints it.
func (l Line) String() string {
	switch l.Kind {
	case Other:
		return l.Text
	case Done:
		return mark + string(Done)
	case End:
		return fmt.Sprintf("%s%s %s %.3f", mark, End, l.Text, l.Took.Seconds())
	}
	// What a process prints may have more lines' ends in it than one.
	text := strings.NewReplacer("\n", " ", "\r", " ").Replace(l.Text)
	return fmt.Sprintf("%s%s %s", mark, l.Kind, text)
}

// Parse reads a line of the console, without its end. The kernel may have written
// something before the mark, without an end of its own.
func Parse(text string) Line {
	text = strings.TrimRight(text, "\r\n")
	_, rest, found := strings.Cut(text, mark)
	if !found {
		return Line{Text: text}
	}
	kind, rest, _ := strings.Cut(rest, " ")
	switch kind := Kind(kind); kind {
	case Begin, Server, Client, Failed:
		return Line{Kind: kind, Text: rest}
	case Done:
		return Line{Kind: Done}
	case End:
		at := strings.LastIndexByte(rest, ' ')
		if at < 0 {
			break
		}
		seconds, err := strconv.ParseFloat(rest[at+1:], 64)
		if err != nil {
			break
		}
		return Line{Kind: End, Text: rest[:at], Took: time.Duration(seconds * float64(time.Second))}
	}
	return Line{Text: text}
}
