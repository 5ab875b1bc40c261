#include "core.h"

#include <stddef.h>

enum { OUTSIDE, INSIDE, BODY, TAIL };

/* What is rare stays out of ls_octet: a small controller saves registers for
 * everything that a function might do. */
#define RARE __attribute__((noinline))

#ifdef __AVR__
#include <avr/pgmspace.h>
#define SENTENCE(s) PSTR(s)
#define CHAR(p) pgm_read_byte(p)
#else
#define SENTENCE(s) (s)
#define CHAR(p) (*(p))
#endif

static uint16_t out_crc;

static inline void escaped(uint8_t octet)
{
	if (octet >= LS_MARK && octet <= LS_FLAG) {
		board_out(LS_ESCAPE);
		octet ^= 0x20;
	}
	board_out(octet);
}

void ls_u8(uint8_t v)
{
	out_crc = ls_crc(out_crc, v);
	escaped(v);
}

void ls_u16(uint16_t v)
{
	ls_u8((uint8_t)v);
	ls_u8((uint8_t)(v >> 8));
}

void ls_u32(uint32_t v)
{
	ls_u16((uint16_t)v);
	ls_u16((uint16_t)(v >> 16));
}

void ls_begin(uint8_t type)
{
	out_crc = 0xFFFF;
	board_out(LS_FLAG);
	ls_u8(type);
}

void ls_end(void)
{
	uint16_t check = (uint16_t)~out_crc;
	escaped((uint8_t)check);
	escaped((uint8_t)(check >> 8));
	board_out(LS_FLAG);
}

void ls_resume(uint16_t crc) { out_crc = crc; }

static void error(uint8_t code, uint8_t type, const char *sentence)
{
	ls_begin(LS_ERROR);
	ls_u8(code);
	ls_u8(type);
	for (char ch; (ch = (char)CHAR(sentence)) != 0; sentence++)
		ls_u8((uint8_t)ch);
	ls_end();
}

static void set_defaults(struct ls_core *c)
{
	c->config = (struct ls_config){.rates = (1 << LS_RATES) - 1, .dim = 2, .options = 0, .gap = 100};
}

void ls_init(struct ls_core *c)
{
	*c = (struct ls_core){.crc = 0xFFFF};
	set_defaults(c);
}

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | (uint16_t)p[1] << 8); }

static uint32_t get32(const uint8_t *p) { return get16(p) | (uint32_t)get16(p + 2) << 16; }

static void say_info(void)
{
	ls_begin(LS_INFO);
	ls_u8(LS_MAJOR);
	ls_u8(LS_MINOR);
	ls_u8(board_kind());
	ls_u32(0x00010000);
	ls_u32(16000000);
	ls_u8(LS_CODES);
	ls_u8((1 << LS_RATES) - 1);
	ls_u16(LS_BODY);
	ls_u16(LS_WINDOW);
	ls_u8(LS_UNIT);
	ls_u8(board_speeds());
	ls_u16(board_features());
	ls_u8(LS_RECEIVER);
	ls_u16(500);
	ls_u8(1);
	ls_end();
}

/* What the last test found stays. */
static void end_test(struct ls_core *c)
{
	c->test.mode = 0;
	board_test(0);
}

static void begin_test(struct ls_core *c, const uint8_t *m)
{
	uint16_t frames = get16(m + 4);
	c->test = (struct ls_test){.mode = m[1], .rate = m[2], .length = m[3], .left = frames, .endless = frames == 0};
	board_test(m[1]);
}

static void hello(struct ls_core *c, const uint8_t *m)
{
	if (m[1] != LS_MAJOR) {
		ls_begin(LS_ERROR);
		ls_u8(LS_EVERSION);
		ls_u8(LS_HELLO);
		for (const char *s = SENTENCE("protocol \1 asked, this board speaks 1"); CHAR(s) != 0; s++) {
			char ch = (char)CHAR(s);
			if (ch != 1) {
				ls_u8((uint8_t)ch);
				continue;
			}
			if (m[1] >= 100)
				ls_u8((uint8_t)('0' + m[1] / 100));
			if (m[1] >= 10)
				ls_u8((uint8_t)('0' + m[1] / 10 % 10));
			ls_u8((uint8_t)('0' + m[1] % 10));
		}
		ls_end();
		return;
	}
	end_test(c);
	set_defaults(c);
	board_config(&c->config);
	c->consumed = 0;
	c->hello = true;
	say_info();
}

static bool baud_is_known(uint32_t baud)
{
	uint8_t speed = baud == 115200 ? 0 : baud == 250000 ? 1 : baud == 500000 ? 2 : baud == 1000000 ? 3 : 4;
	return (speed < 4 || baud == 2000000) && (board_speeds() >> speed & 1) != 0;
}

static bool configure(struct ls_core *c, const uint8_t *m)
{
	struct ls_config want = {.rates = m[1], .dim = m[2], .options = m[3], .gap = get16(m + 4)};
	if (want.rates >> LS_RATES || want.dim > 2 || want.options > 1 || want.gap < 100 || want.gap > 10000)
		return false;
	c->config = want;
	board_config(&c->config);
	ls_begin(LS_ACK);
	ls_u8(LS_CONFIG);
	ls_u8(0);
	ls_end();
	return true;
}

static void say_stats(struct ls_core *c, bool clear)
{
	struct ls_stats *s = &c->stats;
	ls_begin(LS_STATS | LS_ANSWER);
	ls_u32(board_now());
	ls_u32(s->tx_frames);
	ls_u32(s->tx_octets);
	ls_u32(s->rx_frames);
	ls_u32(s->rx_octets);
	ls_u32(s->violations);
	ls_u16(s->false_starts);
	ls_u16(s->truncated);
	ls_u16(s->dry);
	ls_u32(s->serial_frames);
	ls_u16(s->serial_bad);
	ls_u16(s->overruns);
	ls_u16(s->deferred);
	ls_end();
	if (clear)
		*s = (struct ls_stats){0};
}

static void say_test(const struct ls_core *c)
{
	ls_begin(LS_PRBS | LS_ANSWER);
	ls_u8(c->test.mode);
	ls_u32(c->test.frames);
	ls_u32(c->test.bits);
	ls_u32(c->test.wrong);
	ls_u16(c->test.slipped);
	ls_u8(c->test.rate);
	ls_end();
}

void ls_tested(struct ls_core *c, uint16_t bits, uint16_t wrong)
{
	struct ls_test *t = &c->test;
	t->frames++;
	if (wrong > bits / 4) {
		t->slipped++;
	} else {
		t->bits += bits;
		t->wrong += wrong;
	}
	if (t->endless || --t->left != 0)
		return;
	end_test(c);
	say_test(c);
}

/* A message of n octets whose check was right. */
static void message(struct ls_core *c, uint8_t n)
{
	const uint8_t *m = c->message;
	uint32_t since;
	bool ok;
	c->alive = true;
	c->stats.serial_frames++;
	switch (m[0]) {
	case LS_HELLO:
		ok = n == 3;
		if (ok)
			hello(c, m);
		break;
	case LS_BAUD:
		ok = n == 5 && baud_is_known(get32(m + 1));
		if (ok) {
			ls_begin(LS_BAUD | LS_ANSWER);
			ls_u32(get32(m + 1));
			ls_end();
			board_baud(get32(m + 1));
		}
		break;
	case LS_CONFIG:
		ok = n == 6 && configure(c, m);
		break;
	case LS_STATS:
		ok = n == 2;
		if (ok)
			say_stats(c, m[1] != 0);
		break;
	case LS_ECHO:
		ok = n <= LS_QUESTION;
		if (ok) {
			ls_begin(LS_ECHO | LS_ANSWER);
			for (uint8_t i = 1; i < n; i++)
				ls_u8(m[i]);
			ls_end();
		}
		break;
	case LS_PRBS:
		ok = n == 6 && m[1] <= 2 && (m[1] == 0 || (m[2] < LS_RATES && m[3] >= 1 && m[3] <= LS_PRBS_BODY));
		if (ok) {
			if (m[1] == 0)
				end_test(c);
			else
				begin_test(c, m);
			say_test(c);
		}
		break;
	case LS_SENSE:
		ok = n == 1;
		if (ok) {
			ls_begin(LS_SENSE | LS_ANSWER);
			ls_u8(board_busy(&since));
			ls_u32(since);
			ls_end();
		}
		break;
	case LS_CREDIT:
		ok = n == 1;
		if (ok) {
			ls_begin(LS_CREDIT | LS_ANSWER);
			ls_u16(c->consumed);
			ls_end();
		}
		break;
	case LS_RESET:
		ok = n == 1;
		if (ok)
			board_reset();
		break;
	default:
		error(LS_EUNKNOWN, m[0], SENTENCE("no such message"));
		return;
	}
	if (!ok)
		error(LS_EVALUE, m[0], SENTENCE("wrong length or value"));
}

static RARE void bad(struct ls_core *c)
{
	c->stats.serial_bad++;
	c->state = OUTSIDE;
}

static void take(struct ls_core *c)
{
	c->consumed++;
	if (c->consumed % LS_UNIT == 0)
		board_out(LS_MARK);
}

static void fresh(struct ls_core *c)
{
	c->state = INSIDE;
	c->escaped = false;
	c->length = 0;
	c->crc = 0xFFFF;
}

static void say_done(struct ls_core *c, uint8_t status)
{
	ls_begin(LS_TXDONE);
	ls_u8(c->tx.seq);
	ls_u8(status);
	ls_u32(c->sent_start);
	ls_u16(c->tx.length);
	ls_u16(c->sent_host);
	ls_end();
}

static RARE void flag(struct ls_core *c)
{
	bool good = !c->escaped && c->crc == LS_CRC_GOOD;
	uint8_t state = c->state, n = c->length;
	fresh(c);
	if (state == TAIL) {
		good = good && n == 2;
		if (good) {
			c->alive = true;
			c->stats.serial_frames++;
		} else {
			c->stats.serial_bad++;
		}
		say_done(c, good ? c->status : LS_DAMAGED);
	} else if (state == INSIDE && n != 0) {
		if (good && n >= 3)
			message(c, n - 2);
		else
			c->stats.serial_bad++;
	}
}

/* True if the header of a TX frame is right. Its check leaves the register where any check does. */
static RARE bool header(struct ls_core *c)
{
	const uint8_t *m = c->message;
	c->tx = (struct ls_tx){.seq = m[1], .rate = m[2], .patience = m[3], .length = get16(m + 4), .start = get16(m + 6)};
	uint16_t most = c->tx.rate == LS_RATES - 1 ? LS_BODY_SLOW : LS_BODY;
	if (c->crc == LS_CRC_GOOD && c->tx.rate < LS_RATES && c->tx.length >= 1 && c->tx.length <= most) {
		c->state = BODY;
		c->alive = true;
		return true;
	}
	bad(c);
	error(LS_EHEADER, LS_TX, SENTENCE("header damaged or out of range"));
	return false;
}

/* 7C to 7E. */
static RARE void delimiter(struct ls_core *c, uint8_t octet)
{
	if (octet == LS_FLAG)
		flag(c);
	else if (c->state == OUTSIDE)
		return;
	else if (octet == LS_ESCAPE && !c->escaped)
		c->escaped = true;
	else if (c->state == TAIL)
		c->crc = 0; /* the flag that ends it will find it wrong */
	else
		bad(c);
}

bool ls_octet(struct ls_core *c, uint8_t octet)
{
	take(c);
	if (octet >= LS_MARK && octet <= LS_FLAG) {
		delimiter(c, octet);
		return false;
	}
	if (c->state == OUTSIDE)
		return false;
	if (c->escaped) {
		octet ^= 0x20;
		c->escaped = false;
	}
	c->crc = ls_crc(c->crc, octet);
	uint8_t n = c->length;
	if (n == sizeof c->message) {
		bad(c);
		return false;
	}
	c->length = n + 1;
	if (c->state == TAIL)
		return false;
	c->message[n] = octet;
	return n == 9 && c->message[0] == LS_TX && header(c);
}

int ls_body(struct ls_core *c, uint8_t octet)
{
	take(c);
	if (octet == LS_FLAG || octet == LS_MARK)
		return -2;
	if (octet == LS_ESCAPE && !c->escaped) {
		c->escaped = true;
		return -1;
	}
	if (c->escaped)
		octet ^= 0x20;
	c->escaped = false;
	c->crc = ls_crc(c->crc, octet);
	return octet;
}

void ls_sent(struct ls_core *c, uint8_t status, uint32_t start, uint16_t missing, uint8_t broken)
{
	c->status = status;
	c->sent_start = start;
	c->sent_host = status == LS_SENT || status == LS_DRY ? c->tx.length - missing : 0;
	if (status == LS_SENT || status == LS_DRY) {
		c->stats.tx_frames++;
		c->stats.tx_octets += c->tx.length;
	}
	if (status == LS_SENT) {
		c->state = TAIL;
		c->escaped = false;
		c->length = 0;
		return;
	}
	if (status == LS_DRY)
		c->stats.dry++;
	if (broken == LS_FLAG)
		fresh(c);
	else
		c->state = OUTSIDE;
	say_done(c, status);
}
