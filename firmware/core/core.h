/* The board's end of the serial protocol (../PROTOCOL.md): frames, checks,
 * messages, credits. Portable C11 without allocation, clock or I/O of its own;
 * everything it needs from a board are the functions named board_*.
 *
 *   serial octet -> ls_octet -> message -> answer -> board_out
 *                            -> TX header: returns true; the board takes the body
 *                               (ls_body) or lets its own loop take it, puts it on
 *                               the light and says so with ls_sent
 *
 * It never sees light: see light.h for the line code. */
#ifndef LS_CORE_H
#define LS_CORE_H

#include <stdbool.h>
#include <stdint.h>

enum { LS_MARK = 0x7C, LS_ESCAPE = 0x7D, LS_FLAG = 0x7E };

enum ls_type {
	LS_HELLO = 0x01, LS_BAUD, LS_CONFIG, LS_TX, LS_STATS, LS_ECHO, LS_PRBS, LS_SENSE, LS_CREDIT, LS_RESET,
	LS_INFO = 0x81, LS_ACK = 0x83, LS_TXDONE = 0x84, LS_RX = 0x90, LS_ERROR = 0xFF,
	LS_ANSWER = 0x80 /* the answer to t is t|LS_ANSWER where it has no name of its own */
};

enum ls_error { LS_EVERSION = 1, LS_EUNKNOWN = 2, LS_EVALUE = 3, LS_EHEADER = 5 };

enum ls_status { LS_SENT, LS_DRY, LS_DAMAGED, LS_CARRIER, LS_LATE };

enum {
	LS_MAJOR = 1, LS_MINOR = 0,
	LS_QUESTION = 18,   /* octets of a content from the host, TX apart */
	LS_UNIT = 64,       /* octets that a mark stands for */
	LS_PRBS_BODY = 192,
#ifdef LS_LED /* one LED both sends and hears: slots.h */
	LS_WINDOW = 448,    /* octets under way: the board's ring less one mark made by noise */
	LS_CODES = 2,       /* INFO: line codes */
	LS_RECEIVER = 2,    /* INFO: receiver */
	LS_RATES = 2,
	LS_BODY = 1023,     /* octets of a light frame */
	LS_BODY_SLOW = 480  /* … at the slowest rate */
#else
	LS_WINDOW = 1472,
	LS_CODES = 1,
	LS_RECEIVER = 1,
	LS_RATES = 6,
	LS_BODY = 2047,
	LS_BODY_SLOW = 960  /* a frame must not outlast the clock's arithmetic */
#endif
};

#define LS_CRC_GOOD 0xF0B8u /* the register after content and check */

struct ls_config {
	uint8_t rates;   /* bit r: listen at rate r */
	uint8_t dim;     /* 0 to 2 */
	uint8_t options; /* bit 0: tell carrier changes unasked */
	uint16_t gap;    /* µs */
};

/* A light frame that the host wants sent. */
struct ls_tx {
	uint8_t seq, rate, patience; /* patience in ms */
	uint16_t length, start;      /* octets */
};

/* Counters in the order in which STATS tells them. */
struct ls_stats {
	uint32_t tx_frames, tx_octets, rx_frames, rx_octets, violations;
	uint16_t false_starts, truncated, dry;
	uint32_t serial_frames;
	uint16_t serial_bad, overruns, deferred;
};

/* The test with a known sequence: what was asked for, and what came of it. */
struct ls_test {
	uint8_t mode;            /* 0 none, 1 sends, 2 compares what is heard */
	uint8_t rate, length;    /* of the frames that are sent; octets */
	bool endless;
	uint16_t left;           /* frames */
	uint32_t frames, bits, wrong;
	uint16_t slipped;        /* frames of which more than a quarter of the bits were wrong: they are not counted in those */
};

struct ls_core {
	uint8_t state, escaped;
	uint8_t length;      /* octets in message; in the tail of a TX frame octets of the check */
	uint8_t status;      /* of the TX frame whose tail is coming */
	uint8_t message[LS_QUESTION + 2];
	uint16_t crc;
	uint16_t consumed;   /* octets since HELLO, modulo 2^16 */
	bool alive;          /* a valid frame came since the board last cleared this */
	bool hello;          /* HELLO came: the board empties its ring and clears this */
	struct ls_config config;
	struct ls_tx tx;
	uint32_t sent_start;
	uint16_t sent_host;  /* octets of the light frame that were the host's */
	struct ls_stats stats;
	struct ls_test test;
};

void ls_init(struct ls_core *c);

/* One octet of the serial line. True: c->tx is to be sent and its body follows
 * on the line; feed no octet until ls_sent. */
bool ls_octet(struct ls_core *c, uint8_t octet);

/* One octet of a TX body, for boards without a loop of their own. Returns the
 * body octet, -1 when more is needed, or -2 when the frame was broken off. */
int ls_body(struct ls_core *c, uint8_t octet);

/* The light frame was sent (LS_SENT, LS_DRY) or not (LS_CARRIER, LS_LATE). start:
 * ticks at the first chip; missing: body octets that did not come; broken: the
 * delimiter that ended the body early (LS_FLAG, LS_MARK) or 0. */
void ls_sent(struct ls_core *c, uint8_t status, uint32_t start, uint16_t missing, uint8_t broken);

/* A test frame was sent (wrong: 0) or compared. The last one ends the test and tells of it. */
void ls_tested(struct ls_core *c, uint16_t bits, uint16_t wrong);

/* n octets were taken from the line by the board's own loop, which gave the marks for them. */
static inline void ls_taken(struct ls_core *c, uint16_t n) { c->consumed += n; }

/* Messages to the host. ls_begin writes the opening flag and the type. */
void ls_begin(uint8_t type);
void ls_u8(uint8_t v);
void ls_u16(uint16_t v);
void ls_u32(uint32_t v);
void ls_end(void);
/* A message whose beginning the board's own loop has written, with this register. */
void ls_resume(uint16_t crc);

static inline uint16_t ls_crc(uint16_t crc, uint8_t octet)
{
	/* One octet of the reflected polynomial 8408 at once: the eight steps
	 * of the register collapse because its taps lie 4 and 8+3 apart. */
	octet ^= (uint8_t)crc;
	octet ^= (uint8_t)(octet << 4);
	return (uint16_t)(((uint16_t)((uint16_t)octet << 8) | (crc >> 8)) ^ (octet >> 4) ^ ((uint16_t)octet << 3));
}

/* The next octet of x^7+x^6+1 (ITU-T O.150), most significant bit first. The
 * register starts at 0x7F. */
static inline uint8_t ls_prbs(uint8_t *reg)
{
	uint8_t octet = 0;
	for (uint8_t i = 0; i < 8; i++) {
		uint8_t bit = (uint8_t)(((*reg >> 6) ^ (*reg >> 5)) & 1);
		*reg = (uint8_t)((*reg << 1) | bit) & 0x7F;
		octet = (uint8_t)(octet << 1) | bit;
	}
	return octet;
}

/* What the core needs of a board. */
void board_out(uint8_t octet);                 /* to the host, as it is; waits when the line is busy */
uint32_t board_now(void);                      /* ticks of 0.5 µs */
uint8_t board_kind(void);                      /* INFO: board */
uint16_t board_features(void);                 /* INFO: features */
uint8_t board_speeds(void);                    /* INFO: speeds */
void board_baud(uint32_t baud);                /* once what was written has left */
void board_config(const struct ls_config *c);  /* always in range */
bool board_busy(uint32_t *since);              /* carrier */
void board_test(uint8_t mode);                 /* the test's mode is another */
void board_reset(void);

#endif
