/* All of gyre's interface. */
#ifndef GYRE_GYRE_H
#define GYRE_GYRE_H

#include <gyre/alloc.h>
#include <gyre/atomic.h>
#include <gyre/config.h>
#include <gyre/events.h>
#include <gyre/heap.h>
#include <gyre/object.h>
#include <gyre/options.h>
#include <gyre/slot.h>
#include <gyre/statistics.h>
#include <gyre/status.h>
#include <gyre/thread.h>
#include <gyre/type.h>
#include <gyre/weakref.h>

#endif
