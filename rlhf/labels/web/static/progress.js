// The annotator's progress: items done and left, and the pace once there is one.
const MIN_PACED = 5; // labels before the page estimates the time that is left

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function showProgress(state) {
  const total = state.done + state.left;
  document.getElementById("progress-bar").value = total ? state.done / total : 1;
  const remaining = state.left ? ` · about ${duration(state.pace * state.left)} left` : "";
  const pace = state.pace === null || state.done < MIN_PACED ? "" : ` · ${duration(state.pace)} each${remaining}`;
  document.getElementById("progress-text").textContent = `${state.done} done · ${state.left} left${pace}`;
}
