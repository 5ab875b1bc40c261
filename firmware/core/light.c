#include "light.h"

enum { HUNT, LIGHT_RUN, DARK_RUN, BITS };

enum {
	CHIP = LS_SAMPLES_PER_CHIP,
	BIT = 2 * CHIP,
	RUN_LEAST = 8 * CHIP * 3 / 4,
	RUN_MOST = 8 * CHIP * 5 / 4
};

void ls_light_header(uint8_t header[LS_HEADER], uint16_t length)
{
	uint8_t low = (uint8_t)length, high = (uint8_t)(length >> 8) & 0x0F;
	uint8_t nibbles = low ^ high;
	nibbles = (nibbles ^ nibbles >> 4 ^ 0x0A) & 0x0F;
	high |= (uint8_t)(nibbles << 4);
	header[0] = 0xEB;
	header[1] = 0x90;
	for (uint8_t i = 2; i < LS_HEADER; i += 2) {
		header[i] = low;
		header[i + 1] = high;
	}
}

static uint8_t ones(uint8_t v)
{
	uint8_t n = 0;
	for (; v != 0; v &= (uint8_t)(v - 1))
		n++;
	return n;
}

static uint8_t majority(uint8_t a, uint8_t b, uint8_t c) { return (a & b) | (c & (a | b)); }

uint16_t ls_light_length(const uint8_t h[LS_HEADER])
{
	uint8_t low = majority(h[2], h[4], h[6]), high = majority(h[3], h[5], h[7]);
	uint8_t nibbles = low ^ high;
	if (ones(h[0] ^ 0xEB) + ones(h[1] ^ 0x90) > 2 || ((nibbles ^ nibbles >> 4) & 0x0F) != 0x0A)
		return 0;
	return (uint16_t)(low | (high & 0x0F) << 8);
}

void ls_light_send(struct ls_light_sender *s, const uint8_t *body, uint16_t length)
{
	s->body = body;
	s->length = length;
	s->chip = 0;
	ls_light_header(s->header, length);
}

int ls_light_chip(struct ls_light_sender *s)
{
	uint32_t chip = s->chip++;
	if (chip < 48)
		return (chip & 1) == 0;
	if (chip < LS_PREAMBLE_CHIPS)
		return chip < 56;
	chip -= LS_PREAMBLE_CHIPS;
	uint32_t octet = chip / 16;
	if (octet >= LS_HEADER + (uint32_t)s->length) {
		s->chip--;
		return -1;
	}
	uint8_t v = octet < LS_HEADER ? s->header[octet] : s->body[octet - LS_HEADER];
	uint8_t bit = v >> (7 - chip / 2 % 8) & 1;
	return bit ^ (int)(chip & 1);
}

void ls_light_listen(struct ls_light_receiver *r) { *r = (struct ls_light_receiver){.state = HUNT}; }

static enum ls_light_event octet(struct ls_light_receiver *r)
{
	r->bits = 0;
	if (r->left != 0) {
		r->octet = r->shift;
		if (--r->left != 0)
			return LS_OCTET;
		r->state = HUNT;
		return LS_ENDED;
	}
	r->header[r->got++] = r->shift;
	if (r->header_violations < 6 && r->got < LS_HEADER) {
		r->header_violations = 0;
		return LS_NOTHING;
	}
	r->left = r->header_violations < 6 ? ls_light_length(r->header) : 0;
	if (r->left == 0) {
		r->state = HUNT;
		return LS_FALSE;
	}
	return LS_STARTED;
}

/* One sample inside the bits: decisions in the middle of the halves, the clock
 * corrected by one sample a bit (see the AVR's loop). */
static enum ls_light_event in_bit(struct ls_light_receiver *r, uint8_t level)
{
	switch (r->phase++) {
	case CHIP / 2:
		r->first = level;
		break;
	case CHIP:
		r->phase = (uint8_t)(level != r->first ? r->phase + 1 : r->phase - 1);
		/* phase CHIP comes again when the edge is late: step over it */
		if (level == r->first)
			r->state = BITS + 1;
		break;
	case CHIP * 3 / 2:
		if (level == r->first) {
			r->violations++;
			r->header_violations++;
		}
		r->shift = (uint8_t)(r->shift << 1 | r->first);
		break;
	case BIT - 1:
		r->phase = 0;
		if (++r->bits == 8)
			return octet(r);
		break;
	}
	return LS_NOTHING;
}

enum ls_light_event ls_light_sample(struct ls_light_receiver *r, bool light)
{
	uint8_t level = light;
	bool edge = level != r->level;
	uint16_t run = r->run;
	r->level = level;
	r->run = edge ? 1 : run < UINT16_MAX ? run + 1 : run;
	switch (r->state) {
	case HUNT:
		if (edge && !level && run >= RUN_LEAST && run <= RUN_MOST)
			r->state = DARK_RUN;
		return LS_NOTHING;
	case DARK_RUN:
		if (!edge && run <= RUN_MOST)
			return LS_NOTHING;
		r->state = HUNT;
		if (!edge || run < RUN_LEAST || run > RUN_MOST)
			return LS_NOTHING;
		r->state = BITS;
		r->phase = 1; /* this sample was the first of the bit */
		r->bits = r->got = r->header_violations = 0;
		r->left = r->violations = 0;
		return LS_NOTHING;
	case BITS + 1: /* the sample that the clock waits */
		r->state = BITS;
		r->phase = CHIP + 1;
		return LS_NOTHING;
	default:
		return in_bit(r, level);
	}
}
