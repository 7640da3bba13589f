// SPDX-License-Identifier: GPL-2.0
/*
 * What the host's mm calls of a window, and what of it is inline in C. The lock that
 * each is called under is said in include/linux/mm.h (struct vm_operations_struct).
 *
 * A window is never split, never grows and never moves: whoever tries is refused by
 * may_split, VM_DONTEXPAND and mremap. So its VMA is there as a whole or not at all.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/oom.h>
#include <linux/pgtable.h>
#include <linux/pid_namespace.h>
#include <linux/pkeys.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <asm/cpufeature.h>
#include <asm/trap_pf.h>
#include <asm/trapnr.h>

#include "bindings.h"

static const struct vm_operations_struct window_ops;

/* What an entry allows, without and with writing; the same for all windows. */
static pgprot_t entry_prot[2];

/* --- faults ----------------------------------------------------------------------- */

/*
 * force_sig_fault() is not exported, and VM_FAULT_SIGSEGV always says SEGV_MAPERR. So a
 * protection fault is told by an ordinary signal, and the instruction runs again when its
 * handler has returned, as it does after a forced one. What is forced is left to the
 * host: a signal that is blocked or ignored, and one to a process that takes none.
 */
static bool send_accerr(struct vm_fault *vmf)
{
	struct sighand_struct *sighand = current->sighand;
	struct kernel_siginfo info;
	bool forced;

	spin_lock_irq(&sighand->siglock);
	forced = sigismember(&current->blocked, SIGSEGV) ||
		 sighand->action[SIGSEGV - 1].sa.sa_handler == SIG_IGN ||
		 (current->signal->flags & SIGNAL_UNKILLABLE);
	spin_unlock_irq(&sighand->siglock);
	if (forced)
		return false;

	/* As set_signal_archinfo(): what the signal's frame says. */
	current->thread.trap_nr = X86_TRAP_PF;
	current->thread.error_code = X86_PF_USER |
				     (vmf->flags & FAULT_FLAG_WRITE ? X86_PF_WRITE : 0);
	current->thread.cr2 = vmf->real_address;

	clear_siginfo(&info);
	info.si_signo = SIGSEGV;
	info.si_code = SEGV_ACCERR;
	info.si_addr = (void __user *)vmf->real_address;
	return !send_sig_info(SIGSEGV, &info, current);
}

/* What the kernel does for a process that is to die is given up. */
static vm_fault_t again(bool user)
{
	return !user && fatal_signal_pending(current) ? VM_FAULT_SIGBUS : VM_FAULT_NOPAGE;
}

/*
 * Reads a page of a file, if it may without a lock of the process's: the filesystem may take
 * as long as it likes. The window's file keeps this module where it is until the fault is
 * over, whoever unmaps the window meanwhile (maybe_unlock_mmap_for_io).
 */
static vm_fault_t read_first(struct vm_fault *vmf, const struct shadowmm_unread *unread)
{
	bool user = vmf->flags & FAULT_FLAG_USER;
	int err = 0;

	if (vmf->flags & FAULT_FLAG_MKWRITE) {
		/* The page is gone meanwhile, and wp_pfn_shared() needs the lock. */
	} else if (fault_flag_allow_retry_first(vmf->flags) &&
		   !(vmf->flags & FAULT_FLAG_RETRY_NOWAIT)) {
		struct file *device = get_file(vmf->vma->vm_file);

		release_fault_lock(vmf);
		shadowmm_file_fetch(unread->number, unread->index);
		shadowmm_file_put(unread->number);
		fput(device);
		/* What can't be read is told by the next try. */
		return VM_FAULT_RETRY | VM_FAULT_MAJOR;
	} else {
		err = shadowmm_file_fetch(unread->number, unread->index);
	}
	shadowmm_file_put(unread->number);
	if (err && !fatal_signal_pending(current))
		return err == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
	return again(user);
}

static vm_fault_t serve(struct vm_fault *vmf)
{
	struct shadowmm_table table = { .vma = vmf->vma, .vmf = vmf };
	struct shadowmm_unread unread = {};
	unsigned int access = SHADOWMM_READ;
	bool user = vmf->flags & FAULT_FLAG_USER;

	/* The window was forked when there was no memory, or is about to be moved. */
	if (!vmf->vma->vm_private_data)
		return VM_FAULT_SIGBUS;
	if (vmf->flags & FAULT_FLAG_WRITE)
		access = SHADOWMM_WRITE;
	else if (vmf->flags & FAULT_FLAG_INSTRUCTION)
		access = SHADOWMM_EXECUTE;
	switch (shadowmm_window_fault(vmf->vma->vm_private_data, &table, vmf->real_address,
				      access, vmf->flags & FAULT_FLAG_TRIED, &unread)) {
	case SHADOWMM_FAULT_DONE:
		return VM_FAULT_NOPAGE;
	case SHADOWMM_FAULT_ACCERR:
		return user && send_accerr(vmf) ? VM_FAULT_NOPAGE : VM_FAULT_SIGSEGV;
	case SHADOWMM_FAULT_MAPERR:
		return VM_FAULT_SIGSEGV;
	case SHADOWMM_FAULT_RETRY:
		return again(user);
	case SHADOWMM_FAULT_READ:
		return read_first(vmf, &unread);
	case SHADOWMM_FAULT_HOST_OOM:
		return VM_FAULT_OOM;
	case SHADOWMM_FAULT_POISON:
		return VM_FAULT_HWPOISON;
	default:
		return VM_FAULT_SIGBUS;
	}
}

/* For a range of which the host has no table yet, and for a huge entry that is not writable. */
static vm_fault_t serve_huge(struct vm_fault *vmf, unsigned int order)
{
	return order == PMD_ORDER ? serve(vmf) : VM_FAULT_FALLBACK;
}

/*
 * Maps nothing: what is around is the shadow's to say. That it is there has the host call
 * fault and pfn_mkwrite under the VMA's lock (vmf_can_call_fault).
 */
static vm_fault_t map_nothing(struct vm_fault *vmf, pgoff_t first, pgoff_t last)
{
	return 0;
}

/* --- a window's life ------------------------------------------------------------- */

/* A copy of the VMA: of a fork, or of mremap, which is refused in a moment. */
static void opened(struct vm_area_struct *vma)
{
	struct shadowmm_table parent = { .vma = vma_lookup(current->mm, vma->vm_start) };
	void *window = vma->vm_private_data;

	vma->vm_private_data = NULL;
	/* Also where madvise(2) has said otherwise. */
	vm_flags_set(vma, VM_WIPEONFORK);
	if (window && vma->vm_mm != current->mm && parent.vma &&
	    parent.vma->vm_private_data == window)
		vma->vm_private_data = shadowmm_window_fork(window, &parent, vma->vm_mm);
}

static void closed(struct vm_area_struct *vma)
{
	void *window = vma->vm_private_data;

	vma->vm_private_data = NULL;
	if (window)
		shadowmm_window_close(window);
}

static int split_refused(struct vm_area_struct *vma, unsigned long addr)
{
	return -EINVAL;
}

static int move_refused(struct vm_area_struct *vma)
{
	return -EINVAL;
}

/*
 * Who may do what in a window is for the shadow to say. Nor has it a key of protection: the
 * entries are made without.
 */
static int protected(struct vm_area_struct *vma, unsigned long start, unsigned long end,
		     unsigned long flags)
{
	return (flags ^ vma->vm_flags) & (VM_ACCESS_FLAGS | ARCH_VM_PKEY_FLAGS) ? -EACCES : 0;
}

/* Somebody else looks at it: /proc/PID/mem, ptrace. */
static int accessed(struct vm_area_struct *vma, unsigned long addr, void *buf, int len, int write)
{
	struct shadowmm_table table = { .vma = vma };

	if (!vma->vm_private_data || len <= 0 || addr < vma->vm_start || addr >= vma->vm_end)
		return -EFAULT;
	len = min_t(unsigned long, len, vma->vm_end - addr);
	return shadowmm_window_access(vma->vm_private_data, &table, addr, buf, len, write);
}

static const struct vm_operations_struct window_ops = {
	.open = opened,
	.close = closed,
	.may_split = split_refused,
	.mremap = move_refused,
	.mprotect = protected,
	.fault = serve,
	.huge_fault = serve_huge,
	.map_pages = map_nothing,
	.pfn_mkwrite = serve,
	.access = accessed,
};

/* The last that mmap of the device does. */
void shadowmm_window_setup(struct vm_area_struct *vma, void *window)
{
	entry_prot[false] = vm_get_page_prot(VM_READ | VM_SHARED);
	entry_prot[true] = vm_get_page_prot(VM_READ | VM_WRITE | VM_SHARED);
	/* VM_WIPEONFORK: the child's table is filled by its own faults, nothing is copied. */
	vm_flags_mod(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_WIPEONFORK, VM_MAYEXEC);
	/* A fault's offset is its address then, and huge pages fit wherever the window lies. */
	vma->vm_pgoff = vma->vm_start >> PAGE_SHIFT;
	vma->vm_private_data = window;
	vma->vm_ops = &window_ops;
}

/* --- the host's table -------------------------------------------------------------- */

struct entry {
	unsigned long pfn;
	bool writable;
};

static int set_entry(pte_t *place, unsigned long addr, void *data)
{
	const struct entry *want = data;
	pte_t old = ptep_get(place);
	pte_t new = pte_mkspecial(pfn_pte(want->pfn, entry_prot[want->writable]));

	if (want->writable)
		new = pte_mkdirty(new);
	if (!pte_none(old)) {
		/* The shadow takes an entry away before it enters another page. */
		if (WARN_ON_ONCE(pte_pfn(old) != want->pfn))
			return -EEXIST;
		if (pte_write(old) >= want->writable)
			return 0;
	}
	set_pte_at(NULL, addr, place, new);
	return 0;
}

static pmd_t *find_pmd(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;

	if (pgd_none(READ_ONCE(*pgd)))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(READ_ONCE(*p4d)))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(READ_ONCE(*pud)) || pud_leaf(READ_ONCE(*pud)))
		return NULL;
	return pmd_offset(pud, addr);
}

/*
 * vmf_insert_pfn_prot() would do, but looks the page's caching up among all memory
 * types each time; the shadow's pages are ordinary memory. Tables stay where they are
 * while the VMA is locked.
 */
int shadowmm_window_enter(const struct shadowmm_table *table, unsigned long addr, unsigned long pfn,
			  bool writable)
{
	struct mm_struct *mm = table->vma->vm_mm;
	struct entry want = { .pfn = pfn, .writable = writable };
	struct vm_fault *vmf = table->vmf;
	pmd_t *pmd, now;
	int err;

	if (vmf && !((vmf->address ^ addr) & PMD_MASK))
		pmd = vmf->pmd;
	else
		pmd = find_pmd(mm, addr);
	if (pmd) {
		now = pmdp_get_lockless(pmd);
		if (pmd_leaf(now)) {
			zap_vma_range(table->vma, addr & PMD_MASK, PMD_SIZE);
		} else if (pmd_present(now)) {
			spinlock_t *lock = pte_lockptr(mm, pmd);

			spin_lock(lock);
			err = set_entry(pte_offset_kernel(pmd, addr), addr, &want);
			spin_unlock(lock);
			return err;
		}
	}
	return apply_to_page_range(mm, addr, PAGE_SIZE, set_entry, &want);
}

/* Only where a fault is served of a range that has no table. */
bool shadowmm_window_enter_huge(const struct shadowmm_table *table, unsigned long addr,
				unsigned long pfn, bool writable)
{
	struct vm_fault *vmf = table->vmf;
	pmd_t now;

	if (!vmf || !vmf->pmd || ((vmf->address ^ addr) & PMD_MASK) ||
	    (addr & ~PMD_MASK) || (pfn & ((PMD_SIZE >> PAGE_SHIFT) - 1)) ||
	    addr < table->vma->vm_start || addr + PMD_SIZE > table->vma->vm_end)
		return false;
	now = pmdp_get_lockless(vmf->pmd);
	if (pmd_leaf(now) && pmd_pfn(now) != pfn)
		zap_vma_range(table->vma, addr, PMD_SIZE);
	else if (!pmd_none(now) && !pmd_leaf(now))
		return false;
	return vmf_insert_pfn_pmd(vmf, pfn, writable) == VM_FAULT_NOPAGE;
}

/* Whether the process wants no 2 MiB, or none but where it `asked` for them (vma_thp_disabled()). */
bool shadowmm_window_has_no_huge(const struct shadowmm_table *table, bool asked)
{
	const struct mm_struct *mm = table->vma->vm_mm;

	return mm_flags_test(MMF_DISABLE_THP_COMPLETELY, mm) ||
	       (!asked && mm_flags_test(MMF_DISABLE_THP_EXCEPT_ADVISED, mm));
}

void shadowmm_window_zap(const struct shadowmm_table *table, unsigned long addr,
			 unsigned long size)
{
	struct vm_area_struct *vma = table->vma;
	unsigned long end = min(addr + size, vma->vm_end);

	addr = max(addr, vma->vm_start);
	if (addr < end)
		zap_vma_range(vma, addr, end - addr);
}

struct address_space *shadowmm_mapping_of(struct vm_area_struct *vma)
{
	return vma->vm_file->f_mapping;
}

/*
 * The same, by anybody: offsets of windows are addresses, so that others who have the same there
 * lose it, too, which costs them a fault.
 */
void shadowmm_mapping_zap(struct address_space *mapping, u64 addr, u64 size)
{
	unmap_mapping_range(mapping, addr, size, 1);
}

/*
 * Copies from or to a page that is entered; false where none is, or not for writing.
 * It stays while its entry's lock is held: nobody frees a page whose entry is there.
 */
bool shadowmm_window_copy(const struct shadowmm_table *table, unsigned long addr, void *buf,
			  size_t len, bool write)
{
	struct follow_pfnmap_args args = { .vma = table->vma, .address = addr };
	bool good;

	if (follow_pfnmap_start(&args))
		return false;
	good = !write || args.writable;
	if (good) {
		void *there = pfn_to_kaddr(args.pfn) + offset_in_page(addr);

		if (write)
			memcpy(there, buf, len);
		else
			memcpy(buf, there, len);
	}
	follow_pfnmap_end(&args);
	return good;
}

/* --- the process -------------------------------------------------------------------- */

struct mm_struct *shadowmm_current_mm(void)
{
	return current->mm;
}

void shadowmm_mm_grab(struct mm_struct *mm)
{
	mmgrab(mm);
}

void shadowmm_mm_drop(struct mm_struct *mm)
{
	mmdrop(mm);
}

/*
 * The window of the calling process, and the host's mmap lock for reading; both stay
 * until the unlock. A window that is being unmapped is in no tree any more.
 */
bool shadowmm_window_lock(struct shadowmm_locked *locked, const void *window, unsigned long start,
			  bool *interrupted)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;

	*interrupted = mmap_read_lock_killable(mm);
	if (*interrupted)
		return false;
	vma = vma_lookup(mm, start);
	if (!vma || vma->vm_ops != &window_ops || vma->vm_private_data != window) {
		mmap_read_unlock(mm);
		return false;
	}
	locked->mm = mm;
	locked->vma = vma;
	return true;
}

void shadowmm_window_unlock(struct shadowmm_locked *locked)
{
	mmap_read_unlock(locked->mm);
}

bool shadowmm_mm_process(struct mm_struct *mm, struct shadowmm_process *process)
{
	struct task_struct *task;

	rcu_read_lock();
	task = rcu_dereference(mm->owner);
	/* Where a fork fails, its signal_struct does not wait for RCU as its task does. */
	if (task && (READ_ONCE(task->__state) & (TASK_NEW | TASK_DEAD)))
		task = NULL;
	if (task) {
		process->pid = task_tgid_nr(task);
		process->oom_score_adj = READ_ONCE(task->signal->oom_score_adj);
		get_task_comm(process->comm, task);
	}
	rcu_read_unlock();
	return task;
}

/* Kills whoever has the mm; false when nobody has it that can be killed. */
bool shadowmm_mm_kill(struct mm_struct *mm)
{
	struct task_struct *process, *thread;
	bool killed = false;

	rcu_read_lock();
	for_each_process_thread(process, thread) {
		if (READ_ONCE(thread->mm) != mm || (thread->flags & PF_KTHREAD) ||
		    is_global_init(thread))
			continue;
		killed |= !send_sig(SIGKILL, thread, 1);
	}
	rcu_read_unlock();
	return killed;
}

/* The user of a process, or 0 where there is none. */
u32 shadowmm_uid_of(u32 pid)
{
	struct task_struct *task;
	u32 uid = 0;

	rcu_read_lock();
	task = pid_task(find_pid_ns(pid, &init_pid_ns), PIDTYPE_TGID);
	if (task)
		uid = __kuid_val(task_uid(task));
	rcu_read_unlock();
	return uid;
}

/* RLIMIT_*, of the calling process. */
u64 shadowmm_rlimit(unsigned int which, bool max)
{
	return max ? rlimit_max(which) : rlimit(which);
}

bool shadowmm_has_pkeys(void)
{
	return arch_pkeys_enabled();
}

/*
 * What probe_page_size_mask() makes of direct_gbpages, which is not exported;
 * "nogbpages" on the command line is not seen here.
 */
bool shadowmm_has_gbpages(void)
{
	return IS_ENABLED(CONFIG_X86_DIRECT_GBPAGES) &&
	       boot_cpu_has(X86_FEATURE_GBPAGES) && !debug_pagealloc_enabled();
}

/* Whether the caller may see what belongs to this user. */
bool shadowmm_mm_may_look(u32 uid)
{
	return uid == __kuid_val(current_euid()) || capable(CAP_SYS_PTRACE);
}

u32 shadowmm_current_uid(void)
{
	return __kuid_val(current_euid());
}
