package tune

import (
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// bold is the weight of that name, 300 above the normal one, in the units of
// x/image/font.
const bold = 3

// colorOf is the colour of an outcome, of Okabe and Ito's palette, which people
// with any kind of colour vision can tell apart.
func colorOf(o Outcome) color.NRGBA {
	switch o {
	case OutcomeOK:
		return color.NRGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff} // blue
	case OutcomeWrong:
		return color.NRGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff} // purple
	case OutcomeCrash:
		return color.NRGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff} // vermilion
	case OutcomeTimeout:
		return color.NRGBA{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff} // orange
	default:
		return color.NRGBA{R: 0x80, G: 0x80, B: 0x80, A: 0xff}
	}
}

// glyph marks an outcome by its shape as well.
func glyph(o Outcome) draw.GlyphStyle {
	s := draw.GlyphStyle{Color: colorOf(o), Radius: vg.Points(3)}
	switch o {
	case OutcomeOK:
		s.Shape, s.Radius = draw.CircleGlyph{}, vg.Points(2.5)
	case OutcomeWrong:
		s.Shape = draw.BoxGlyph{}
	case OutcomeCrash:
		s.Shape = boldCross{}
	case OutcomeTimeout:
		s.Shape = draw.PyramidGlyph{}
	default:
		s.Shape = draw.PlusGlyph{}
	}
	return s
}

func inkColor() color.NRGBA { return color.NRGBA{R: 0x26, G: 0x2b, B: 0x33, A: 0xff} }

func bestLine() draw.LineStyle { return draw.LineStyle{Color: inkColor(), Width: vg.Points(1.6)} }

// textStyle is sans-serif text of a size in points.
func textStyle(size float64, f font.Font) text.Style {
	f.Typeface, f.Variant, f.Size = "Liberation", "Sans", vg.Points(size)
	return text.Style{Color: inkColor(), Font: f, Handler: plot.DefaultTextHandler}
}

// newPlot is an empty plot in the house style whose x axis is time from 0 to
// wall, in seconds.
func newPlot(title string, wall float64) *plot.Plot {
	p := plot.New()
	keep := p.Title.TextStyle
	p.Title.Text = title
	p.Title.TextStyle = textStyle(11, font.Font{Weight: bold})
	p.Title.TextStyle.XAlign, p.Title.TextStyle.YAlign = keep.XAlign, keep.YAlign
	p.Title.Padding = vg.Points(6)
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		label, tick := axis.Label.TextStyle, axis.Tick.Label
		axis.Label.TextStyle = textStyle(10, font.Font{})
		axis.Label.TextStyle.XAlign, axis.Label.TextStyle.YAlign, axis.Label.TextStyle.Rotation = label.XAlign, label.YAlign, label.Rotation
		axis.Label.Padding = vg.Points(4)
		axis.Tick.Label = textStyle(9, font.Font{})
		axis.Tick.Label.XAlign, axis.Tick.Label.YAlign, axis.Tick.Label.Rotation = tick.XAlign, tick.YAlign, tick.Rotation
		axis.Color, axis.Tick.Color = inkColor(), inkColor()
		axis.Padding = 0
	}
	p.X.Min, p.X.Max = 0, wall
	p.X.Tick.Marker = niceTicks{}
	return p
}

// boldCross is a cross that can be seen among dots.
type boldCross struct{}

// DrawGlyph implements draw.GlyphDrawer.
func (boldCross) DrawGlyph(c *draw.Canvas, s draw.GlyphStyle, at vg.Point) {
	line := draw.LineStyle{Color: s.Color, Width: vg.Points(1.3)}
	c.StrokeLine2(line, at.X-s.Radius, at.Y-s.Radius, at.X+s.Radius, at.Y+s.Radius)
	c.StrokeLine2(line, at.X-s.Radius, at.Y+s.Radius, at.X+s.Radius, at.Y-s.Radius)
}

// niceTicks are ticks from zero up at multiples of 1, 2 or 5 times a power of
// ten, with some more.
type niceTicks struct{ extra []plot.Tick }

// Ticks implements plot.Ticker.
func (n niceTicks) Ticks(_, high float64) []plot.Tick {
	ticks := append([]plot.Tick(nil), n.extra...)
	if !(high > 0) || math.IsInf(high, 1) {
		return ticks
	}
	step := niceStep(high / 8)
	for i := 0; float64(i)*step <= high*(1+1e-9); i++ {
		v := float64(i) * step
		ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 6, 64)})
	}
	return ticks
}

// niceStep is the least of 1, 2, 5, 10, 20, … (and 0.5, 0.2, …) that is at least
// x > 0.
func niceStep(x float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, f := range []float64{1, 2, 5} {
		if f*power >= x*(1-1e-9) {
			return f * power
		}
	}
	return 10 * power
}
