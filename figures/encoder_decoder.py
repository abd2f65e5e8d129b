"""The recurrent encoder–decoder, unrolled: one vector carries the whole sentence (chapter 02)."""

from figures._draw import BLUE, DEEP_PURPLE, GREY, LIGHT, PURPLE, VERMILLION, Drawing

SOURCE = ["Mia", "hat", "den", "Ball", "gefunden", ".", "<eos>"]
TARGET = ["Mia", "found", "the", "ball", "."]
STEP = 58                                               # from one state to the next
SAID, BUS, ROW, READ, BELOW = 104, 172, 224, 318, 352   # heights: words said, context, states, words read


def draw() -> Drawing:
    """Encoder on the left, decoder on the right, the context between them."""
    d = Drawing(900, 384, "The recurrent encoder–decoder, unrolled",
                "An encoder reads the German sentence Mia hat den Ball gefunden word by word. Its last "
                "state, one vector of fixed size, goes to every step of the decoder, which says Mia found "
                "the ball. In training the decoder reads the true English words, shifted by one place: it "
                "reads <bos> first and says <eos> last.")
    d.text(24, 34, "The whole sentence has to pass through one vector", size=20, face="b", anchor="start")
    left = [50 + (STEP - 1) * k for k in range(len(SOURCE))]
    right = [562 + STEP * k for k in range(len(TARGET) + 1)]
    encoder(d, left)
    bottleneck(d, left[-1], 480, right)
    decoder(d, right)
    return d


def encoder(d: Drawing, places: list[float]) -> None:
    """States h_1 … h_7 and the words they read."""
    for k, (x, word) in enumerate(zip(places, SOURCE, strict=True), start=1):
        if k > 1:
            d.line((places[k - 2] + 20, ROW), (x - 20, ROW), colour=BLUE, arrow=True)
        d.line((x, READ - 14), (x, ROW + 20), arrow=True)
        d.box(x, ROW, 40, 40, f"h_{k}", BLUE, size=16)
        d.text(x, READ, word, size=13 if len(word) > 6 else 14)
    d.text(places[3], ROW - 46, "Encoder", size=17, colour=BLUE, face="b")
    d.text(places[3], BELOW, "reads the German words, one a step", size=14, colour=GREY)


def bottleneck(d: Drawing, last: float, middle: float, right: list[float]) -> None:
    """The context c, and its way to every step of the decoder."""
    wide, narrow = last + 27, middle - 16
    d.polygon([(wide, ROW - 66), (narrow, ROW - 24), (narrow, ROW + 24), (wide, ROW + 66)], LIGHT[PURPLE])
    d.line((last + 20, ROW), (middle - 16, ROW), colour=BLUE, arrow=True)
    end = right[-1] - 12
    d.line((middle, ROW - 24), (middle, BUS), (end, BUS), (end, ROW - 20), colour=PURPLE, width=2.2,
           arrow=True)
    for x in right[:-1]:
        d.line((x - 12, BUS), (x - 12, ROW - 20), colour=PURPLE, arrow=True, width=2.2)
    d.line((middle + 16, ROW), (right[0] - 20, ROW), colour=PURPLE, arrow=True, width=2.2)
    d.box(middle, ROW, 32, 48, "c", PURPLE, size=19, face="b")
    d.text(middle - 40, 112, "The bottleneck", size=17, colour=DEEP_PURPLE, face="b")
    d.text(middle - 40, 134, "c has one size, however", size=14, colour=DEEP_PURPLE)
    d.text(middle - 40, 151, "long the sentence", size=14, colour=DEEP_PURPLE)


def decoder(d: Drawing, places: list[float]) -> None:
    """States s_1 … s_6, what they have to say and what they read: the same words, one place later."""
    said, read = [*TARGET, "<eos>"], ["<bos>", *TARGET]
    for k, x in enumerate(places, start=1):
        if k > 1:
            d.line((places[k - 2] + 20, ROW), (x - 20, ROW), colour=VERMILLION, arrow=True)
            d.curve((places[k - 2] + 8, SAID + 13), (x - 29, SAID + 70), (x - 29, READ - 80),
                    (x - 9, READ - 12), width=1.3, dash="4 4", arrow=True)
        d.line((x, READ - 14), (x, ROW + 20), arrow=True)
        d.line((x, ROW - 20), (x, SAID + 14), arrow=True)
        d.box(x, ROW, 40, 40, f"s_{k}", VERMILLION, size=16)
        d.text(x, SAID, said[k - 1], size=14, face="b")
        d.text(x, READ, read[k - 1], size=14)
    centre = (places[0] + places[-1]) / 2
    d.text(centre, 70, "Decoder", size=17, colour="#A84800", face="b")
    d.text(centre, BELOW, "reads the true word before (dashed: its own, in use)", size=14, colour=GREY)
