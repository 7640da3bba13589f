/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: the ABI's header, and the request numbers as constants,
 * because bindgen does not expand macros that take arguments.
 */
#include "../../module/uapi/shadowmm.h"

enum {
	REQUEST_VERSION = SHADOWMM_IOC_VERSION,
	REQUEST_STAGE = SHADOWMM_IOC_STAGE,
	REQUEST_MAP = SHADOWMM_IOC_MAP,
	REQUEST_ALLOC = SHADOWMM_IOC_ALLOC,
	REQUEST_FREE = SHADOWMM_IOC_FREE,
	REQUEST_PAGE = SHADOWMM_IOC_PAGE,
	REQUEST_REPORT = SHADOWMM_IOC_REPORT,
	REQUEST_VALIDATE = SHADOWMM_IOC_VALIDATE,
	REQUEST_RECLAIM = SHADOWMM_IOC_RECLAIM,
};
