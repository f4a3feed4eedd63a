package tune

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/color"
	"image/png"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func samplePicture() Picture {
	return Picture{Trials: sampleTrials(), Start: sampleStart, Wall: 10 * time.Second, Size: 256, Key: "cpu"}
}

// svg draws p and returns its texts and how many shapes have which fill.
func svg(t *testing.T, p Picture) (texts []string, fills map[string]int) {
	t.Helper()
	var out bytes.Buffer
	if err := p.Draw(&out, "svg"); err != nil {
		t.Fatal(err)
	}
	fills = map[string]int{}
	d := xml.NewDecoder(&out)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts, fills
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range start.Attr {
			if _, fill, ok := strings.Cut(a.Value, "fill:#"); ok && start.Name.Local == "path" {
				fills[fill[:6]]++
			}
		}
		if start.Name.Local == "text" {
			var text string
			if err := d.DecodeElement(&text, &start); err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
	}
}

func TestPictureSaysWhatItShows(t *testing.T) {
	texts, fills := svg(t, samplePicture())
	for _, want := range []string{
		"Tuning a 256×256 float32 matrix product on 2 servers",
		"key cpu, 7 trials in 10 s. Best: 6.00 GFLOP/s with 8×16×34 ikj unroll 4, 3.0 times as fast as 1×1×256 ijk unroll 1",
		"Speed (GFLOP/s)", "Time since the start (s)", "failed", "best so far",
		"ok (3)", "wrong-result (1)", "crash (1)", "timeout (1)", "error (1)",
		"10.0.0.1:9090", "10.0.0.2:9090",
	} {
		if !slices.Contains(texts, want) {
			t.Errorf("no text %q among %q", want, texts)
		}
	}
	// One mark in the legend, one above, one bar below; crosses and plus signs
	// are strokes.
	if n := fills["0071B1"]; n != 3+3 {
		t.Errorf("%d faded shapes for what went well, want 3 dots and 3 bars (all: %v)", n, fills)
	}
	for outcome, want := range map[Outcome]int{
		OutcomeOK: 1, OutcomeWrong: 1 + 1 + 1, OutcomeTimeout: 1 + 1 + 1, OutcomeCrash: 1, OutcomeError: 1,
	} {
		c := colorOf(outcome)
		hex := strings.ToUpper(strings.Join([]string{hexByte(c.R), hexByte(c.G), hexByte(c.B)}, ""))
		if fills[hex] != want {
			t.Errorf("%s: %d filled shapes of #%s, want %d (all: %v)", outcome, fills[hex], hex, want, fills)
		}
	}
}

func hexByte(b uint8) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b>>4], digits[b&15]})
}

func TestPictureNamesOnlyOutcomesThatOccurred(t *testing.T) {
	p := samplePicture()
	p.Trials = p.Trials[:2] // a crash and a good one
	texts, _ := svg(t, p)
	for _, text := range texts {
		for _, absent := range []Outcome{OutcomeWrong, OutcomeTimeout, OutcomeError} {
			if strings.HasPrefix(text, string(absent)+" (") {
				t.Errorf("legend has %q", text)
			}
		}
	}
}

func TestPictureAsPNG(t *testing.T) {
	var out bytes.Buffer
	if err := samplePicture().Draw(&out, "png"); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&out)
	if err != nil {
		t.Fatal(err)
	}
	if w := img.Bounds().Dx(); w != 11*pngDPI {
		t.Errorf("%d pixels wide, want 11 inches of %d", w, pngDPI)
	}
	seen := map[color.NRGBA]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			c, _ := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
			seen[c]++
		}
	}
	for _, o := range []Outcome{OutcomeCrash, OutcomeTimeout, OutcomeWrong} {
		if seen[colorOf(o)] < 100 {
			t.Errorf("%d pixels in the colour of %s", seen[colorOf(o)], o)
		}
	}
	if corner := color.NRGBAModel.Convert(img.At(0, 0)); corner != (color.NRGBA{255, 255, 255, 255}) {
		t.Errorf("background %v, want white", corner)
	}
}

// Whatever a job was like, its picture can be drawn.
func TestPictureOfOddJobs(t *testing.T) {
	one := samplePicture()
	one.Trials = one.Trials[:1]
	long := samplePicture()
	long.Wall = 1000 * time.Hour
	many := samplePicture()
	for i := range 100 {
		tr := many.Trials[0]
		tr.Server = strings.Repeat("x", 40) + hexByte(uint8(i)) + ".example:9090"
		many.Trials = append(many.Trials, tr)
	}
	for name, p := range map[string]Picture{
		"nothing at all":         {Size: 1, Key: "k", Start: sampleStart},
		"one trial, which fails": one,
		"weeks":                  long,
		"a hundred servers":      many,
	} {
		var out bytes.Buffer
		if err := p.Draw(&out, "svg"); err != nil || out.Len() < 1000 {
			t.Errorf("%s: %d bytes, %v", name, out.Len(), err)
		}
		for _, number := range []string{"NaN", "Inf"} {
			if bytes.Contains(out.Bytes(), []byte(number)) {
				t.Errorf("%s: the drawing has %s in it", name, number)
			}
		}
	}
}

func TestPictureFormat(t *testing.T) {
	for path, want := range map[string]string{"a/tune.svg": "svg", "TUNE.PNG": "png", "tune.jpg": "", "tune": "", ".svg/x": ""} {
		got, err := PictureFormat(path)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
}

// Ticks are few enough to be read, many enough to be useful, and round.
func TestNiceTicks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		high := rapid.Float64Range(1e-6, 1e9).Draw(t, "high")
		ticks := niceTicks{}.Ticks(0, high)
		if len(ticks) < 3 || len(ticks) > 9 {
			t.Fatalf("%d ticks up to %g", len(ticks), high)
		}
		for _, tick := range ticks {
			if tick.Value < 0 || tick.Value > high*1.0001 || tick.Label == "" {
				t.Fatalf("tick %+v up to %g", tick, high)
			}
		}
	})
	for _, high := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if ticks := (niceTicks{}).Ticks(0, high); len(ticks) != 0 {
			t.Errorf("%d ticks up to %g", len(ticks), high)
		}
	}
}

func TestDrawReportsAFullDisk(t *testing.T) {
	full := errors.New("no space left on device")
	for _, format := range []string{"svg", "png"} {
		err := samplePicture().Draw(writerFunc(func([]byte) (int, error) { return 0, full }), format)
		if !errors.Is(err, full) {
			t.Errorf("%s: error %v, want the writer's", format, err)
		}
	}
}
