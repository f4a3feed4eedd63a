package tune

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"path/filepath"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Picture is what a picture of a job shows.
type Picture struct {
	Trials []Trial
	Start  time.Time
	Wall   time.Duration
	Size   int // n of the n×n matrices
	Key    string
}

// PictureFormat is the format that a file's name asks for, svg or png.
func PictureFormat(path string) (string, error) {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".svg", ".png":
		return ext[1:], nil
	default:
		return "", fmt.Errorf("picture %q: want a name that ends in .svg or .png", path)
	}
}

// Sizes of the picture. A panel's height is that of its frame with its labels.
const (
	pictureWidth = 11 * vg.Inch
	marginX      = 0.2 * vg.Inch
	headHeight   = 1.0 * vg.Inch
	speedHeight  = 3.6 * vg.Inch
	rowHeight    = 0.34 * vg.Inch // of a server in the timeline
	axisHeight   = 1.1 * vg.Inch  // of the timeline's axis, title and label
	bottom       = 0.1 * vg.Inch
	gap          = 0.15 * vg.Inch // between the panels
	maxRows      = 40             // servers beyond get thinner rows
	pngDPI       = 144
)

// Draw draws p in a format of [PictureFormat]: on top the best speed so far and
// every trial, below who ran what when.
func (p Picture) Draw(w io.Writer, format string) error {
	servers := serverNames(p.Trials)
	timelineHeight := axisHeight + rowHeight*vg.Length(min(max(len(servers), 1), maxRows))
	height := headHeight + speedHeight + timelineHeight + bottom
	speed, timeline := p.speedPlot(), p.timelinePlot(servers)
	paint := func(c draw.Canvas) {
		c.FillPolygon(color.White, []vg.Point{c.Min, {X: c.Max.X, Y: c.Min.Y}, c.Max, {X: c.Min.X, Y: c.Max.Y}})
		c = draw.Crop(c, marginX, -marginX, bottom, 0)
		p.drawHead(draw.Crop(c, 0, 0, speedHeight+timelineHeight, 0), len(servers))
		drawAligned(
			panel{speed, draw.Crop(c, 0, 0, timelineHeight, -headHeight)},
			panel{timeline, draw.Crop(c, 0, 0, 0, -headHeight-speedHeight-gap)},
		)
	}
	if format == "svg" {
		canvas := vgsvg.New(pictureWidth, height)
		paint(draw.New(canvas))
		return writeSVG(w, canvas)
	}
	canvas := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(pictureWidth, height), vgimg.UseDPI(pngDPI))}
	paint(draw.New(canvas))
	if _, err := canvas.WriteTo(w); err != nil {
		return fmt.Errorf("write picture: %w", err)
	}
	return nil
}

// writeSVG writes the canvas with families to fall back to, of the same
// metrics, for whoever does not have the font.
func writeSVG(w io.Writer, canvas *vgsvg.Canvas) error {
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return fmt.Errorf("draw picture: %w", err)
	}
	text := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans"),
		[]byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif"))
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("write picture: %w", err)
	}
	return nil
}

// panel is a plot and its place.
type panel struct {
	plot   *plot.Plot
	canvas draw.Canvas
}

// drawAligned draws panels, one below the other, so that their x axes
// coincide: all get the left and right margins of the one that needs most.
func drawAligned(panels ...panel) {
	var left, right vg.Length
	for _, p := range panels {
		data := p.plot.DataCanvas(p.canvas)
		left = max(left, data.Min.X-p.canvas.Min.X)
		right = max(right, p.canvas.Max.X-data.Max.X)
	}
	for _, p := range panels {
		data := p.plot.DataCanvas(p.canvas)
		p.plot.Draw(draw.Crop(p.canvas, left-(data.Min.X-p.canvas.Min.X), -(right - (p.canvas.Max.X - data.Max.X)), 0, 0))
	}
}

// drawHead writes the title, a line of facts and the legend of both panels.
func (p Picture) drawHead(c draw.Canvas, servers int) {
	s := Summarise(p.Trials, p.Wall)
	title := textStyle(15, font.Font{Weight: bold})
	title.YAlign = draw.YTop
	c.FillText(title, vg.Point{X: c.Min.X, Y: c.Max.Y - 9}, fmt.Sprintf("Tuning a %d×%d float32 matrix product on %s",
		p.Size, p.Size, plural(servers, "server")))
	facts := fmt.Sprintf("key %s, %s in %.0f s", p.Key, plural(s.Trials, "trial"), s.WallS)
	if s.Best != nil {
		facts += fmt.Sprintf(". Best: %.2f GFLOP/s with %v, %.1f times as fast as %v", s.Best.GFLOPS, s.Best.Config, s.SpeedUp, s.Baseline.Config)
	}
	sub := textStyle(10, font.Font{})
	sub.YAlign = draw.YTop
	c.FillText(sub, vg.Point{X: c.Min.X, Y: c.Max.Y - 29}, facts)
	p.drawLegend(c, s)
}

// drawLegend draws one row: the outcomes that occurred, with counts, and the
// best-so-far line.
func (p Picture) drawLegend(c draw.Canvas, s Summary) {
	style := textStyle(10, font.Font{})
	style.YAlign = draw.YCenter
	at := vg.Point{X: c.Min.X, Y: c.Min.Y + 18}
	const space, mark = 16, 6
	c.StrokeLine2(bestLine(), at.X, at.Y, at.X+18, at.Y)
	at.X += 18 + mark
	c.FillText(style, at, "best so far")
	at.X += style.Width("best so far") + space
	for _, o := range Outcomes() {
		if s.Outcomes[o] == 0 {
			continue
		}
		text := fmt.Sprintf("%s (%d)", o, s.Outcomes[o])
		c.DrawGlyphNoClip(glyph(o), vg.Point{X: at.X + 4, Y: at.Y})
		at.X += 8 + mark
		c.FillText(style, at, text)
		at.X += style.Width(text) + space
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
