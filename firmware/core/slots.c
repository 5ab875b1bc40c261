#include "slots.h"

#ifdef __AVR__
#include <avr/pgmspace.h>
#define TABLE PROGMEM
#define AT(table, i) ((int8_t)pgm_read_byte(&(table)[i]))
#else
#define TABLE
#define AT(table, i) ((table)[i])
#endif

enum { PREAMBLE, HEAD, PAIRS, WORDS, LAST, DONE }; /* sender */
enum { IDLE, SEEK, HEADER, PAIR_BODY, WORD_BODY }; /* receiver */

enum {
	WORD = 5,         /* slots of an octet at rate 0: a dark one, four of two bits */
	PULSE = LS_SLOT - LS_DARK_END - LS_FRONT, /* ticks of a full slot's light that a receiver in step sees */
	SEEK_BITS = 64,
	TRIM_ERROR = 150, /* 1/256 tick a slot, 0.15 %: what acquisition may be wrong by */
	MOST_TRIM = 6 * LS_SLOT, /* 1/256 tick a slot, 2.3 %: clocks and that error */
	SYNC = 0xEB90,
	SLOW = 1          /* the rate that sends pairs */
};

/* ------------------------------------------------------------------ sender */

void ls_slots_send(struct ls_slot_sender *s, uint8_t rate, uint16_t length)
{
	ls_light_header(s->header, (uint16_t)(length | rate << 10));
	s->left = length;
	s->rate = rate;
	s->state = PREAMBLE;
	s->octet = s->slot = 0;
}

void ls_slots_feed(struct ls_slot_sender *s, uint8_t octet)
{
	s->octet = octet;
	s->slot = 0;
	s->left--;
	s->state = s->rate == SLOW ? PAIRS : WORDS;
}

/* A pair is full and dark for 1, dark and later for 0: what a clock that runs
 * late cuts off is missing in ones only, which tells it from weak light. */
static int pair(uint8_t octet, uint8_t slot)
{
	bool one = octet >> (7 - slot / 2) & 1;
	if ((slot & 1) == 0)
		return one ? LS_FULL : LS_DARK;
	return one ? LS_DARK : LS_LATER;
}

static int next_octet(struct ls_slot_sender *s)
{
	if (s->left != 0)
		return LS_NEEDS;
	if (s->rate == SLOW) {
		s->state = DONE;
		return LS_OVER;
	}
	s->state = LAST;
	return LS_DARK; /* the last word's second reference */
}

int ls_slots_next(struct ls_slot_sender *s)
{
	switch (s->state) {
	case PREAMBLE:
		if (s->slot < LS_PREAMBLE_SLOTS)
			return (s->slot++ & 1) == 0 ? LS_FULL : LS_DARK;
		s->state = HEAD;
		s->slot = 0;
		/* fall through */
	case HEAD:
		if (s->slot < 16 * LS_HEADER) {
			uint8_t slot = s->slot++;
			return pair(s->header[slot / 16], slot % 16);
		}
		return next_octet(s);
	case PAIRS:
		if (s->slot < 16)
			return pair(s->octet, s->slot++);
		return next_octet(s);
	case WORDS:
		if (s->slot < WORD) {
			uint8_t slot = s->slot++;
			if (slot == 0)
				return LS_DARK;
			uint8_t gray = s->octet >> (8 - 2 * slot) & 3, level = gray ^ gray >> 1;
			if (level == 0)
				return LS_DARK;
			return level == 3 ? LS_FULL : LS_THIRD - 1 + level;
		}
		return next_octet(s);
	default:
		s->state = DONE;
		return LS_OVER;
	}
}

/* ----------------------------------------------------------- carrier sense */

bool ls_slots_sense(struct ls_slot_sense *s, uint8_t discharge)
{
	uint8_t at = s->at;
	s->sum = (int16_t)(discharge - s->sum - s->last[at]);
	s->last[at] = discharge;
	s->at = (at + 1) & 7;
	if (s->seen < 8) {
		s->seen++;
		return false;
	}
	/* Noise, by what is left of every second discharge when its mean and its slope are
	 * taken off: neither a preamble nor a lamp leaves much. */
	int16_t off = (int16_t)(discharge - 2 * s->last[(at - 2) & 7] + s->last[(at - 4) & 7]);
	if (off < 0)
		off = (int16_t)-off;
	s->noise = (uint16_t)(s->noise + (uint16_t)off - s->noise / 32);
	int16_t sum = s->sum;
	uint16_t mean = 0;
	uint8_t up = 0;
	for (uint8_t i = 0; i < 8; i++)
		mean += s->last[i];
	if (sum < 0)
		sum = (int16_t)-sum;
	mean /= 8;
	/* Mean deviation of off is sqrt(6)*0.80 sigma, sigma of the sum sqrt(8)*sigma: 4.2 of those. */
	if ((uint16_t)sum <= mean / 6u || (uint16_t)sum <= 6 * (s->noise / 32u))
		return false;
	for (uint8_t i = 0; i < 8; i += 2)
		up += s->last[i] < s->last[i + 1];
	return up == 0 || up == 4;
}

void ls_slots_sense_anew(struct ls_slot_sense *s) { *s = (struct ls_slot_sense){.noise = s->noise}; }

/* --------------------------------------------------------------- the clock */

static const int8_t sine[40] TABLE = {/* 127 sin(2 pi i/32) */
	0, 25, 49, 71, 90, 106, 117, 125, 127, 125, 117, 106, 90, 71, 49, 25,
	0, -25, -49, -71, -90, -106, -117, -125, -127, -125, -117, -106, -90, -71, -49, -25,
	0, 25, 49, 71, 90, 106, 117, 125};

/* The angle of (x, y) in ticks of a period of two slots, to a few ticks. */
static uint16_t angle(int32_t x, int32_t y)
{
	uint16_t turn = 0;
	if (y < 0) {
		x = -x;
		y = -y;
		turn = LS_SLOT;
	}
	if (x < 0) {
		int32_t t = x;
		x = y;
		y = -t;
		turn += LS_SLOT / 2;
	}
	while (x > 0x3FFF || y > 0x3FFF) {
		x >>= 1;
		y >>= 1;
	}
	/* atan by z/(1+0.28 z²), to 0.3 degrees, in the octant */
	bool steep = y > x;
	int32_t high = steep ? y : x, low = steep ? x : y;
	if (high == 0)
		return turn;
	int32_t z = low * 1024 / high; /* 1024: 1 */
	int32_t atan = z * 1024 / (1024 + 287 * z / 1024 * z / 1024);
	int16_t ticks = (int16_t)(atan * 127 / 1024); /* 800/2pi ticks a radian */
	ticks = steep ? (int16_t)(LS_SLOT / 2 - ticks) : ticks;
	return (uint16_t)((turn + (uint16_t)ticks) % (2 * LS_SLOT));
}

/* The shorter way round two slots. */
static int16_t turned(int16_t by)
{
	while (by >= LS_SLOT)
		by -= 2 * LS_SLOT;
	while (by < -LS_SLOT)
		by += 2 * LS_SLOT;
	return by;
}

bool ls_slots_acquire(const uint16_t *discharge, const uint8_t *gap, uint8_t n, bool in_step, struct ls_slot_timing *t)
{
	int32_t x[2] = {0, 0}, y[2] = {0, 0}, sum = 0;
	uint16_t around = 0, now = 0, middle[2] = {0, 0}, weight = 0;
	uint8_t half = n / 2, from = 0, to = 0;
	if (n < 24)
		return false;
	for (uint8_t i = 0; i < n; i++) {
		/* Light is what differs from the mean of two periods about: lamps change more slowly. */
		while (to < n && to < i + 5) {
			around += discharge[to];
			sum += discharge[to++];
		}
		while (from + 4 < i)
			around -= discharge[from++];
		uint8_t h = i >= half;
		uint16_t mid = now + discharge[i] / 2;
		uint8_t phase = (uint8_t)((uint32_t)mid * (65536ul * 32 / (2 * LS_SLOT)) >> 16) & 31; /* no division: time is short */
		int16_t light = (int16_t)(around - (uint8_t)(to - from) * discharge[i]);                /* nine times what it is */
		x[h] += (int32_t)light * AT(sine, phase + 8);
		y[h] += (int32_t)light * AT(sine, phase);
		if (i == half / 2)
			middle[0] = mid;
		if (i == half + (n - half) / 2)
			middle[1] = mid;
		now += discharge[i] + gap[i];
	}
	uint16_t mean = (uint16_t)(sum / n);
	weight = (uint16_t)((uint32_t)mean * half / 7); /* a preamble has 3 % and more where contrast is 8 % */
	for (uint8_t h = 0; h < 2; h++) {
		uint32_t ax = (uint32_t)(x[h] < 0 ? -x[h] : x[h]) / 127, ay = (uint32_t)(y[h] < 0 ? -y[h] : y[h]) / 127;
		if ((ax > ay ? ax + ay / 2 : ay + ax / 2) < weight)
			return false;
	}
	/* table entries stand for the beginning of a 32nd: half of one, 12 ticks, to be added */
	uint16_t a = angle(x[0], y[0]), b = angle(x[1], y[1]);
	uint16_t apart = middle[1] - middle[0];
	if (apart == 0)
		return false;
	int32_t measured = turned((int16_t)(b - a)) * (256L * LS_SLOT) / apart, off = measured - t->trim;
	if (off > TRIM_ERROR || off < -TRIM_ERROR) {
		if (measured > MOST_TRIM || measured < -MOST_TRIM)
			return false;
		/* A frame can be read with a clock that is 0.2 % off. */
		bool near = off <= 2 * TRIM_ERROR && off >= -2 * TRIM_ERROR;
		t->trim = (int16_t)(in_step && near ? t->trim + off / 2 : measured);
	}
	/* Both brought back to tick 0 with the sender's period, and their mean. */
	int16_t first = (int16_t)(a - (int32_t)(middle[0] / (2 * LS_SLOT)) * t->trim / 128);
	int16_t second = (int16_t)(b - (int32_t)(middle[1] / (2 * LS_SLOT)) * t->trim / 128);
	first += turned(second - first) / 2 + LS_FRONT - LS_FLOAT + 12;
	while (first < 0)
		first += 2 * LS_SLOT;
	t->begin = (uint16_t)(first % (2 * LS_SLOT));
	return true;
}

/* ---------------------------------------------------------------- receiver */

void ls_slots_listen(struct ls_slot_receiver *r) { *r = (struct ls_slot_receiver){.state = SEEK}; }

static uint8_t ones(uint16_t v)
{
	uint8_t n = 0;
	for (; v != 0; v &= (uint16_t)(v - 1))
		n++;
	return n;
}

bool ls_slots_length(const uint8_t header[LS_HEADER], uint16_t *length, uint8_t *rate)
{
	uint16_t word = ls_light_length(header);
	*length = word & LS_SLOT_LENGTH;
	*rate = (uint8_t)(word >> 10);
	return *rate <= SLOW && *length != 0;
}

uint8_t ls_slots_noise(const struct ls_slot_receiver *r)
{
	if (r->measured == 0 || r->contrast <= 0)
		return 255;
	uint32_t noise = r->deviation * 512 / r->measured / (uint16_t)r->contrast;
	if (noise < LS_TOO_STRONG && r->dark - r->contrast < PULSE * 16)
		return LS_TOO_STRONG;
	return noise > 255 ? 255 : (uint8_t)noise;
}

uint8_t ls_slots_ratio(const struct ls_slot_receiver *r)
{
	if (r->dark <= 0 || r->contrast >= r->dark)
		return 0;
	return (uint8_t)((uint32_t)(r->dark - r->contrast) * 255 / (uint16_t)r->dark);
}

static void deviates(struct ls_slot_receiver *r, int16_t by)
{
	r->deviation += (uint16_t)(by < 0 ? -by : by);
	r->measured++;
}

/* Ticks (1/16) that a discharge by this much too long (1/16 tick) tells our slot is late. */
static int16_t lateness(const struct ls_slot_receiver *r, int16_t by)
{
	int32_t t = (int32_t)by * PULSE * 16 / (r->contrast > 16 ? r->contrast : 16);
	/* no more than a clock can do in the time that the loop takes */
	return t > 40 * 16 ? 40 * 16 : t < -40 * 16 ? -40 * 16 : (int16_t)t;
}

/* The loop that follows the sender's clock: proportional and integral. Where
 * noise is far below contrast it may be fast; within words it need not be. */
static void follow(struct ls_slot_receiver *r, int16_t late)
{
	int16_t shift = late / 16, trim = late / 64;
	if (r->state == WORD_BODY) {
		shift = late / 8;
		trim = late / 32;
	} else if (r->strong) {
		shift = late / 4;
		trim = late / 8;
	}
	r->late += shift;
	r->trim = (int8_t)(trim > 100 ? 100 : trim < -100 ? -100 : trim);
}

static void track_dark(struct ls_slot_receiver *r, uint8_t time)
{
	r->dark += ((int16_t)(time * 16) - r->dark) / 16;
}

/* One pair has passed. Returns its bit. What lateness takes off, it takes off
 * ones: contrast is that of zeros, as soon as there were some. */
static uint8_t in_pair(struct ls_slot_receiver *r, uint8_t second, bool known)
{
	int16_t difference = (int16_t)(second - r->time[0]) * 16;
	uint8_t bit = difference > 0;
	int16_t size = difference < 0 ? (int16_t)-difference : difference;
	int16_t by = (int16_t)(r->contrast - size);
	if (size < r->contrast / 4)
		r->doubtful++;
	track_dark(r, bit ? second : r->time[0]);
	deviates(r, by);
	if (bit) {
		if (known)
			follow(r, lateness(r, by));
	} else if (known || r->sync != 0xFFFF) {
		if (r->zeros < 16)
			r->zeros++;
		r->contrast -= by / r->zeros;
	}
	return bit;
}

/* The four slots between two dark ones. */
static uint8_t in_word(struct ls_slot_receiver *r, uint8_t end)
{
	int16_t start = (int16_t)(r->time[0] * 16), slope = (int16_t)(end * 16 - start);
	/* A lamp that shines brighter shortens all discharges alike. */
	int16_t step = (int16_t)((int32_t)r->contrast * start / (3 * (int32_t)r->reference));
	uint8_t octet = 0;
	int16_t late = 0;
	if (step < 1)
		step = 1;
	for (uint8_t i = 1; i < WORD; i++) {
		int16_t drop = (int16_t)(start + slope * i / WORD - (int16_t)(r->time[i] * 16));
		uint8_t level = drop < step / 2 ? 0 : drop < step + step / 2 ? 1 : drop < 2 * step + step / 2 ? 2 : 3;
		int16_t by = (int16_t)(level * step - drop); /* less light than there should be */
		int16_t size = by < 0 ? (int16_t)-by : by;
		octet = (uint8_t)(octet << 2 | (level ^ level >> 1));
		if (size > step / 4 + step / 8 && !(level == 3 && by < 0) && !(level == 0 && by > 0))
			r->doubtful++;
		deviates(r, by);
		if (level == 1)
			late += lateness(r, by);
		if (level == 3) {
			int16_t contrast = (int16_t)(r->contrast - by / 32);
			if (contrast >= r->least && contrast <= r->most)
				r->contrast = contrast;
		}
	}
	follow(r, late);
	track_dark(r, end);
	return octet;
}

static enum ls_light_event octet_of_body(struct ls_slot_receiver *r, uint8_t octet)
{
	bool dark = r->state == WORD_BODY ? octet == 0 : r->doubtful - r->doubted >= 5;
	r->doubted = r->doubtful;
	r->silent = dark ? r->silent + 1 : 0;
	if (r->silent == LS_GIVE_UP && r->left > 1) {
		r->state = IDLE;
		return LS_FALSE;
	}
	r->octet = octet;
	if (--r->left != 0)
		return LS_OCTET;
	r->state = IDLE;
	return LS_ENDED;
}

static enum ls_light_event bit_of_pairs(struct ls_slot_receiver *r, uint8_t bit)
{
	r->shift = (uint8_t)(r->shift << 1 | bit);
	if (++r->bits != 8)
		return LS_NOTHING;
	r->bits = 0;
	if (r->state == PAIR_BODY)
		return octet_of_body(r, r->shift);
	r->header[r->got++] = r->shift;
	if (r->got != LS_HEADER)
		return LS_NOTHING;
	uint16_t length;
	if (!ls_slots_length(r->header, &length, &r->rate)) {
		r->state = IDLE;
		return LS_FALSE;
	}
	r->left = length;
	r->state = r->rate == SLOW ? PAIR_BODY : WORD_BODY;
	r->reference = r->dark > 16 ? r->dark : 16;
	r->doubted = r->doubtful;
	r->least = r->contrast - r->contrast / 8;
	r->most = r->contrast + r->contrast / 8;
	r->slot = 0;
	return LS_STARTED;
}

static enum ls_light_event seek(struct ls_slot_receiver *r, uint8_t second)
{
	int16_t difference = (int16_t)(second - r->time[0]) * 16;
	if (r->waited++ == 0) {
		r->contrast = difference > 16 ? difference : 16;
		r->dark = (int16_t)(second * 16);
	}
	/* Until the sync word is through all are ones, which tell nothing of the clock. */
	if (r->waited <= 4 && difference > 16)
		r->contrast += (difference - r->contrast) / 2;
	r->sync = (uint16_t)(r->sync << 1 | in_pair(r, second, false));
	if (r->waited >= 16 && ones(r->sync ^ SYNC) <= 2) {
		r->header[0] = (uint8_t)(r->sync >> 8);
		r->header[1] = (uint8_t)r->sync;
		r->got = 2;
		/* noise below an eighth of the contrast */
		r->strong = r->deviation / r->measured * 8 < (uint16_t)r->contrast;
		r->doubtful = 0;
		r->deviation = 0;
		r->measured = 0;
		r->state = HEADER;
		return LS_NOTHING;
	}
	if (r->waited < SEEK_BITS)
		return LS_NOTHING;
	r->state = IDLE;
	return LS_FALSE;
}

enum ls_light_event ls_slots_hear(struct ls_slot_receiver *r, uint8_t discharge)
{
	if (r->state == IDLE)
		return LS_NOTHING;
	if (r->state == WORD_BODY) {
		if (r->slot != WORD) {
			r->time[r->slot++] = discharge;
			return LS_NOTHING;
		}
		uint8_t octet = in_word(r, discharge);
		r->time[0] = discharge;
		r->slot = 1;
		return octet_of_body(r, octet);
	}
	if (r->slot == 0) {
		r->time[0] = discharge;
		r->slot = 1;
		return LS_NOTHING;
	}
	r->slot = 0;
	if (r->state == SEEK)
		return seek(r, discharge);
	return bit_of_pairs(r, in_pair(r, discharge, true));
}
