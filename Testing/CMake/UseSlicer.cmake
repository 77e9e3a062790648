# SPDX-License-Identifier: Apache-2.0
# The macros that Slicer's UseSlicer.cmake gives to extensions, as far as scripted modules need them.

include(CTest) # defines BUILD_TESTING, as Slicer does

# The Python with the host's packages: the one of `make`, unless another is named.
foreach(_python bin/python Scripts/python.exe)
  if(NOT DEFINED Python3_EXECUTABLE AND EXISTS ${CMAKE_SOURCE_DIR}/.venv/${_python})
    set(Python3_EXECUTABLE ${CMAKE_SOURCE_DIR}/.venv/${_python})
  endif()
endforeach()
find_package(Python3 REQUIRED COMPONENTS Interpreter)

set(_standin_dir ${CMAKE_CURRENT_LIST_DIR})
set(_standin_flat_dir ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR})

# What was there before is from another configuration: a file no longer listed must not linger.
file(REMOVE_RECURSE ${_standin_flat_dir})
install(DIRECTORY ${_standin_flat_dir}/ DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
  PATTERN __pycache__ EXCLUDE)

# Puts one listed file where Slicer would: at the same relative path, in the folder that all modules
# of the extension share. Scripts may be listed without their ".py".
function(_standin_copy module file)
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  if(NOT EXISTS ${source} OR IS_DIRECTORY ${source})
    message(FATAL_ERROR "${module} lists a file that does not exist: ${file}")
  endif()
  get_property(owner GLOBAL PROPERTY _standin_owner_of_${file})
  if(owner)
    message(FATAL_ERROR "${module} and ${owner} both install ${file}: one would overwrite the other")
  endif()
  set_property(GLOBAL PROPERTY _standin_owner_of_${file} ${module})
  configure_file(${source} ${_standin_flat_dir}/${file} COPYONLY)
endfunction()

# Every file of a module folder, except what Slicer does not package, must be listed.
function(_standin_check_all_listed module)
  file(GLOB_RECURSE existing RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS
    ${CMAKE_CURRENT_SOURCE_DIR}/*)
  list(FILTER existing EXCLUDE REGEX "(^|/)(__pycache__|Testing|[.][^/]*)(/|$)")
  list(FILTER existing EXCLUDE REGEX "(^|/)CMakeLists[.]txt$")
  list(REMOVE_ITEM existing ${ARGN})
  if(existing)
    list(JOIN existing "\n  " lines)
    message(FATAL_ERROR
      "${module} has files that its CMakeLists.txt does not list, so Slicer would not package them:\n"
      "  ${lines}")
  endif()
endfunction()

macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY_SLICER "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME"
    "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_SLICER_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "Unknown keywords given to slicerMacroBuildScriptedModule(): "
      "\"${MY_SLICER_UNPARSED_ARGUMENTS}\"")
  endif()
  if(NOT MY_SLICER_NAME)
    message(FATAL_ERROR "NAME is mandatory")
  endif()
  message(STATUS "Configuring Scripted module: ${MY_SLICER_NAME}")

  set(_listed)
  foreach(_file ${MY_SLICER_SCRIPTS})
    if(NOT _file MATCHES "[.]py$")
      string(APPEND _file ".py") # as Slicer does: another file type belongs under RESOURCES
    endif()
    list(APPEND _listed ${_file})
  endforeach()
  list(APPEND _listed ${MY_SLICER_RESOURCES})
  foreach(_file ${_listed})
    _standin_copy(${MY_SLICER_NAME} ${_file})
  endforeach()
  _standin_check_all_listed(${MY_SLICER_NAME} ${_listed})
endmacro()

# Runs the unittest classes of a script, found in the packaged folder or else beside the
# CMakeLists.txt, in the host that stands in for the desktop application.
macro(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  get_filename_component(_test_name ${MY_SCRIPT} NAME_WE)
  set(_full_name py_${MY_TESTNAME_PREFIX}${_test_name})
  add_test(NAME ${_full_name}
    COMMAND ${Python3_EXECUTABLE} ${_standin_dir}/run_unittest.py
      ${_test_name} ${_standin_flat_dir} ${CMAKE_CURRENT_SOURCE_DIR})
  set_tests_properties(${_full_name} PROPERTIES RUN_SERIAL TRUE TIMEOUT 600)
endmacro()
